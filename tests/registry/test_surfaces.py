"""What comes from data and people is data wherever a registry shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kfp_bert_components.cli.registry import command
from kfp_bert_components.gate import read_decision
from kfp_bert_components.registry import Registry
from kfp_bert_components.reports.comparison import summary
from kfp_bert_components.steps.promote_model import promote_model
from tests.support.models import write_candidate

EVIL = "x\n2026-01-01T00:00:00Z  Version 9 became champion\r\x1b[2J\u202e<script>|`[a](http://b)"
CONTROL = ("\r", "\x1b", "\u202e")


def rewrite(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.fixture
def candidate(tmp_path: Path) -> tuple[Path, Path, Path]:
    bundle, evaluation, decision = write_candidate(tmp_path / "c")
    rewrite(bundle / "bundle.json", labels=["ham", EVIL], versions={"keras": EVIL}, parameters={EVIL: EVIL})
    metrics = {f"f1:{EVIL}": {"value": 0.5, "low": 0.4, "high": 0.6}}
    rewrite(evaluation / "evaluation.json", labels=["ham", EVIL], metrics=metrics)
    rewrite(decision / "decision.json", reason=EVIL)
    return bundle, evaluation, decision


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_history_list_and_gc_have_one_line_for_each_event(candidate, tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    registry.promote(*candidate)
    registry.record_deployment("production", "failed", 1, EVIL)
    for output, lines in ((run("history", registry.uri), 2), (run("list", registry.uri), 1)):
        assert len(output.splitlines()) == len(output.split("\n")) - 1 == lines
        assert not any(character in output for character in CONTROL)
    for event in registry.history():
        assert len(event.text.splitlines()) == 1 and "\\x1b[2J" in event.text


def test_the_card_shows_texts_as_they_are(candidate, tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    registry.promote(*candidate)
    card = registry.card(1)
    body = card.split("---\n")[2]
    assert not any(character in body for character in CONTROL)
    for line in body.splitlines():
        if "script" in line and not line.startswith("|") and "classes:" not in line:  # what is no code
            assert "&lt;script&gt;\\|\\`\\[a\\](http" in line
    assert run("show", registry.uri) == card + "\n"


def test_a_card_of_an_older_version_is_shown_without_control_characters(candidate, tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    registry.promote(*candidate)
    registry.store.write("versions/1/README.md", f"# Title\n{EVIL}\n".encode())
    shown = run("show", registry.uri)
    assert shown.startswith("# Title\nx\n") and not any(character in shown for character in CONTROL)


def test_the_summary_and_the_log_show_texts_as_they_are(candidate, tmp_path: Path, capsys) -> None:
    rewrite(
        candidate[2] / "decision.json",
        outcome="HOLD",
        difference={"metric": f"f1:{EVIL}", "candidate": 0.5, "champion": 0.4, "value": 0.1},
        guardrails=[{"name": EVIL, "passed": True, "broken": False, "value": 0.1, "limit": -0.1}],
    )
    text = summary(read_decision(candidate[2]))
    assert (
        not any(character in text for character in CONTROL)
        and "<script>" not in text
        and "](" not in text.replace("\\](", "")
    )
    assert len(text.splitlines()) == 7
    promote_model(str(tmp_path / "registry"), *candidate)
    said = capsys.readouterr().out
    assert said.splitlines()[0].startswith("Not promoted (HOLD): x 2026-01-01") and "\x1b" not in said
