"""The example in which a person approves a model: without an answer in time nothing is promoted."""

import threading
import time

import pytest
from click.testing import CliRunner

from kfp_bert_components.cli.registry import command
from kfp_bert_components.registry import Registry
from tests.support.easy_tables import write_easy_lines
from tests.support.examples import EXAMPLES, given
from tests.support.pipeline_runs import run_pipeline

pytestmark = pytest.mark.docs
EXAMPLE = f"{EXAMPLES / 'human_approval.py'}:train_and_ask"


def approve(registry, printed):
    """What a person does: wait for a run that asks, and answer with the command that its log names."""
    deadline = time.monotonic() + 600
    while not (waiting := [one for one in registry.decisions() if one.approval and one.approval.open]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    words = ["approve", registry.uri, waiting[0].decision_id, "--reason", "read the comparison"]
    printed.append(CliRunner().invoke(command, words, catch_exceptions=False).output)


def test_a_model_becomes_champion_only_when_a_person_says_so(tmp_path):
    registry, printed = Registry(str(tmp_path / "registry")), []
    places = given(tmp_path, write_easy_lines(tmp_path / "lines.csv"))
    found = run_pipeline(EXAMPLE, tmp_path, **places, hours=0.0003)
    assert found["wait-for-approval"]["outcome"] == "EXPIRED"
    assert found["deploy-to-serving-directory"] == {"serving_uri": "", "version": 0}  # there is nothing to deploy yet
    (asked,) = registry.decisions()
    assert (asked.outcome, asked.approval.state, registry.champion()) == ("PROMOTE", "expired", None)

    person = threading.Thread(target=approve, args=(registry, printed))
    person.start()
    found = run_pipeline(EXAMPLE, tmp_path, **places, hours=0.3)  # longer than the person takes, and not for a day
    person.join()
    assert "Approved by" in printed[0]
    assert found["wait-for-approval"]["outcome"] == "APPROVED"
    assert registry.require_champion().version == registry.deployment("production").live_version == 1
    assert any("read the comparison" in event.text for event in registry.history())
    log = max((tmp_path / "runs").glob("*/log.txt"), key=lambda path: path.stat().st_mtime).read_text()
    assert f"kfp-bert registry approve {registry.uri} {registry.decisions()[-1].decision_id}" in log
