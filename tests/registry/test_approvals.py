"""Approval: a run waits for a person's answer; the first answer counts, and of the model that was asked about only."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from kfp_bert_components.cli.registry import command
from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.gate import read_decision, write_decision
from kfp_bert_components.origin import Origin
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.promote_model import promote_model
from kfp_bert_components.steps.wait_for_approval import wait_for_approval
from tests.support.models import candidate_for, promote_next
from tests.support.promoters import interrupt


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry with one champion; "next" was compared with it."""
    registry = Registry(str(tmp_path / "registry"))
    promote_next(registry, tmp_path, "first")
    return registry


@pytest.fixture
def candidate(registry: Registry, tmp_path: Path) -> tuple[Path, Path, Path]:
    return candidate_for(registry, tmp_path, "next")


def run(*words: str) -> str:
    done = CliRunner().invoke(command, list(words), catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def waiting(registry: Registry, candidate: tuple[Path, Path, Path], hours: float = 1.0) -> None:
    """A run has asked, and its pod was killed then."""
    registry.ask_approval(read_decision(candidate[2]), hours)


def wait(registry: Registry, candidate: tuple[Path, Path, Path], hours: float = 1.0):
    """The step, and the decision that it gives."""
    folder = candidate[2].with_name("answered")
    found = wait_for_approval(candidate[2], folder, registry.uri, hours, poll_seconds=0.01)
    assert read_decision(folder) == found.decision
    return found, folder


def test_an_approved_model_is_promoted_and_the_history_says_by_whom(registry, candidate, capsys):
    threading.Timer(0.3, lambda: run("approve", registry.uri, "next", "--reason", "looked at it")).start()
    found, folder = wait(registry, candidate)
    assert found.outcome == "APPROVED"
    told = capsys.readouterr().out
    assert f"kfp-bert registry approve {registry.uri} next\n" in told and "macro F1 is 0.05 higher." in told
    assert promote_model(registry.uri, *candidate[:2], folder).champion_version == "2"
    moved = registry.history()[-1]
    assert re.search(r"became champion, in place of version 1: .* Approved by \S+ on \S+: looked at it\.", moved.text)


def test_a_rejected_model_is_held_with_its_own_reason(registry, candidate):
    waiting(registry, candidate)
    run("reject", registry.uri, "next", "--reason", "wrong on refunds.")
    found, folder = wait(registry, candidate)
    assert (found.outcome, found.decision.outcome) == ("REJECTED", "HOLD")
    said = r"Rejected by \S+ on \S+: wrong on refunds\. The gate itself says PROMOTE: macro F1 is 0\.05 higher\."
    assert re.fullmatch(said, found.decision.reason)
    assert promote_model(registry.uri, *candidate[:2], folder).champion_version == "1"
    assert "The promotion by decision next was rejected: wrong on refunds." in run("history", registry.uri)


def test_nobody_in_time_is_no_approval_and_an_answer_later_is_refused(registry, candidate):
    found, folder = wait(registry, candidate, hours=0.2 / 3600)
    assert (found.outcome, found.decision.outcome) == ("EXPIRED", "HOLD")
    assert found.decision.reason.startswith("Nobody approved it until 20")
    assert promote_model(registry.uri, *candidate[:2], folder).champion_version == "1"
    with pytest.raises(UserError, match=r"The time for decision next ended at .*: run the pipeline again"):
        registry.answer_approval("next", approve=True)


def test_the_time_is_over_also_where_the_run_that_asked_is_gone(registry, candidate):
    waiting(registry, candidate, hours=0.05 / 3600)
    time.sleep(0.1)
    with pytest.raises(UserError, match="The time for decision next ended at"):
        registry.answer_approval("next", approve=True)
    assert run("approve", registry.uri) == f"Nothing waits for approval in {registry.uri}.\n"


def test_the_first_answer_counts(registry, candidate):
    waiting(registry, candidate)
    registry.answer_approval("next", approve=False, reason="no")
    with pytest.raises(UserError, match=r"Decision next was rejected by \S+ on \S+ at .*: the first answer counts"):
        registry.answer_approval("next", approve=True)
    assert wait(registry, candidate)[0].outcome == "REJECTED"


def test_of_two_answers_at_the_same_moment_one_counts(registry, candidate):
    waiting(registry, candidate)
    (name,) = (entry.name for entry in registry.store.list("decisions/"))
    other = Registry(registry.uri)
    interrupt(registry, "write", name, lambda: other.answer_approval("next", approve=False, reason="no"))
    with pytest.raises(UserError, match="was rejected"):
        registry.answer_approval("next", approve=True)
    assert wait(other, candidate)[0].outcome == "REJECTED"


def test_an_answer_just_before_the_time_is_over_counts(registry, candidate):
    waiting(registry, candidate, hours=0.3 / 3600)
    (name,) = (entry.name for entry in registry.store.list("decisions/"))
    time.sleep(0.1)
    interrupt(registry, "write", name, lambda: time.sleep(0.3))  # the answer is on its way when the time ends
    registry.answer_approval("next", approve=True)
    assert wait(registry, candidate)[0].outcome == "APPROVED"


def test_an_approval_of_another_model_does_not_count(registry, candidate, tmp_path):
    waiting(registry, candidate)
    registry.answer_approval("next", approve=True)
    other = candidate_for(registry, tmp_path / "other", "other")
    forged = replace(read_decision(other[2]), decision_id="next")
    write_decision(forged, other[2])
    with pytest.raises(UserError, match="is about the model model next, and this decision about model other"):
        wait(registry, other)
    with pytest.raises(NotFoundError, match=r"knows no decision other; none waits for approval\."):
        registry.answer_approval("other", approve=True)


def test_where_another_model_became_champion_an_approval_is_refused(registry, candidate, tmp_path):
    waiting(registry, candidate)
    promote_next(registry, tmp_path, "rival")
    with pytest.raises(UserError, match="Version 2 is champion now, and decision next compared with version 1"):
        registry.answer_approval("next", approve=True)
    with pytest.raises(ConflictError):  # and so is a promotion by one that was given before
        promote_model(registry.uri, *candidate)


def test_a_decision_that_promotes_nothing_asks_nobody(registry, candidate):
    held = replace(read_decision(candidate[2]), outcome="HOLD")
    write_decision(held, candidate[2])
    found, _ = wait(registry, candidate)
    assert (found.outcome, found.decision) == ("NOT NEEDED", held)
    assert registry.decisions() == []


def test_a_run_that_waits_is_listed_with_what_to_read(registry, candidate):
    asking = Registry(registry.uri, origin=Origin(page="https://ui/#/runs/details/7"))
    asking.keep_decision(read_decision(candidate[2]), "gs://bucket/report")
    waiting(asking, candidate)
    lines = run("approve", registry.uri).splitlines()
    assert lines[0].startswith("Decision next waits for approval until 20")
    assert lines[1:3] == ["Read gs://bucket/report", "Read https://ui/#/runs/details/7"]
    assert lines[3] == f"To allow it:  kfp-bert registry approve {registry.uri} next"
    with pytest.raises(NotFoundError, match=r"knows no decision nxt; these wait for approval: next\."):
        registry.answer_approval("nxt", approve=True)


def test_a_decision_that_no_run_asked_about_cannot_be_answered(registry, candidate):
    registry.keep_decision(read_decision(candidate[2]))
    with pytest.raises(UserError, match=r"Decision next \(PROMOTE\) asks for no approval: no run waits for it\."):
        registry.answer_approval("next", approve=True)


def test_decisions_belong_to_a_registry_and_a_damaged_one_is_named(registry, candidate):
    waiting(registry, candidate)
    assert registry.verify() == []
    (path,) = Path(registry.uri, "decisions").iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "reason": 3}))
    (problem,) = registry.verify()
    assert path.name in problem and "reason is 3" in problem
    assert registry.decisions() == [] and "became champion" in run("history", registry.uri)


@pytest.mark.parametrize("hours", [0.0, -1.0, float("nan"), 1e9])
def test_a_time_limit_that_is_none_is_refused(registry, candidate, hours):
    with pytest.raises(UserError, match="hours is .*: expected more than 0, and at most 8760"):
        wait(registry, candidate, hours)


STEP = """
import sys
from pathlib import Path
from kfp_bert_components.steps.wait_for_approval import wait_for_approval
decision, answered, registry = sys.argv[1:]
print(wait_for_approval(Path(decision), Path(answered), registry, 1.0, poll_seconds=0.05).outcome)
"""


def test_a_step_that_is_killed_goes_on_waiting_until_the_same_moment(registry, candidate, tmp_path):
    words = [sys.executable, "-c", STEP, candidate[2], tmp_path / "answered", registry.uri]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout and "waits for approval" in first.stdout.readline()
        first.send_signal(signal.SIGKILL)
    (before,) = registry.decisions()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as second:
        assert second.stdout and "waits for approval" in second.stdout.readline()
        assert registry.decisions() == [before]
        registry.answer_approval("next", approve=True)
        assert second.stdout.read().endswith("\nAPPROVED\n")
