"""A promotion looks at what it promotes: the bundle that was evaluated, the evaluation that was compared."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation import Evaluation, evaluate, read_evaluation, write_evaluation
from kfp_bert_components.gate import Policy, read_decision
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.compare_models import compare_models
from kfp_bert_components.steps.promote_model import promote_model
from tests.support.models import promote_next, write_candidate
from tests.support.splits import write_split

LABELS = ["ham", "spam"]


@pytest.fixture
def examined(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A bundle, its evaluation and the decision to promote it, as the steps write them."""
    bundle, *_ = write_candidate(tmp_path / "made")
    texts = [f"text {i}" for i in range(200)]
    table = pa.table({"id": texts, "text": texts, "label": [LABELS[i % 2] for i in range(200)]})
    fingerprint = write_split(tmp_path / "test", "test", LABELS, table)

    def predict(texts: list[str], pairs: object) -> np.ndarray:
        spam = np.array([0.9 if int(text.split()[1]) % 2 else 0.1 for text in texts], np.float32)
        return np.stack([1 - spam, spam], 1)

    evaluate(bundle, tmp_path / "test", tmp_path / "evaluation", predict=predict)
    write_evaluation(Evaluation(LABELS, fingerprint), tmp_path / "nobody")
    places = tmp_path / "decision", tmp_path / "report.html", tmp_path / "summary.md"
    made = compare_models(tmp_path / "evaluation", tmp_path / "nobody", *places, Policy())
    assert made.promote
    return bundle, tmp_path / "evaluation", tmp_path / "decision"


def rewrite(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def refusal(tmp_path: Path, paths: tuple[Path, Path, Path]) -> str:
    """Why a promotion is refused; nothing of it is left in the registry."""
    with pytest.raises(UserError) as raised:
        promote_model(str(tmp_path / "registry"), *paths)
    assert not (tmp_path / "registry").exists()
    return str(raised.value)


def test_what_the_steps_wrote_is_promoted(examined, tmp_path):
    assert read_evaluation(examined[1]).bundle_files.keys() == {
        "bundle.json",
        "saved_model/part0",
        "saved_model/part1",
    }
    assert read_decision(examined[2]).evaluation_files.keys() == {"evaluation.json", "predictions.parquet"}
    assert promote_model(str(tmp_path / "registry"), *examined).champion_version == "1"
    assert Registry(str(tmp_path / "registry")).verify() == []


@pytest.mark.parametrize("change", ["changed", "added", "removed"])
def test_a_bundle_that_was_changed_since_its_evaluation_is_refused_by_the_file(examined, tmp_path, change):
    file = examined[0] / "saved_model" / ("part1" if change != "added" else "part2")
    file.unlink() if change == "removed" else file.write_text("another model")
    assert f"{file} was {change} since it was evaluated: run evaluate_model again." in refusal(tmp_path, examined)


def test_metrics_that_were_changed_since_the_comparison_are_refused(examined, tmp_path):
    path = examined[1] / "evaluation.json"
    rewrite(path, metrics={"macro_f1": {"value": 0.99, "low": 0.98, "high": 1.0}})
    assert f"{path} was changed since it was compared: run compare_models again." in refusal(tmp_path, examined)


OVERRIDE = {"override": "PROMOTE", "override_by": "ann", "override_reason": "it is wanted"}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"outcome": "YES"}, "its outcome is 'YES', which is none of PROMOTE, HOLD, REJECT"),
        ({"outcome": "HOLD"}, "its outcome is HOLD, but the gate itself says PROMOTE"),
        ({"gate_outcome": "REJECT"}, "its outcome is PROMOTE, but the gate itself says REJECT"),
        ({"gate_outcome": "HOLD", "policy": {"override": ""}}, "the gate itself says HOLD"),
        ({"policy": {**OVERRIDE, "override": "HOLD"}}, "its outcome is PROMOTE, but it was decided by hand to HOLD"),
        ({"policy": {"override": "PROMOTE", "override_by": "ann"}}, "does not say by whom and why"),
        ({"guardrails": [{"name": "F1 of class ham", "passed": False}]}, "'F1 of class ham' does not hold"),
        ({"difference": {"value": -0.35, "delta": 0.0}}, "its difference -0.35 is not above 0"),
        (
            {"difference": {"value": 0.35, "delta": 0.0, "candidate": 0.1, "champion": 0.65}},
            "its difference is 0.35, but its two values are 0.1 and 0.65",
        ),
        ({"difference": {"p_value": 0.06}, "test_set": {"alpha": 0.05}}, "p-value 0.06 is above its alpha 0.05"),
    ],
)
def test_a_decision_that_contradicts_itself_is_refused(examined, tmp_path, fields, says):
    rewrite(examined[2] / "decision.json", **fields)
    message = refusal(tmp_path, examined)
    assert says in message and "contradicts itself" in message


def test_what_was_decided_by_hand_is_promoted(examined, tmp_path):
    rewrite(examined[2] / "decision.json", gate_outcome="REJECT", policy=OVERRIDE)
    assert promote_model(str(tmp_path / "registry"), *examined).champion_version == "1"


def test_records_of_format_1_say_that_their_files_are_not_compared(tmp_path, capsys):
    assert Registry(str(tmp_path / "registry")).promote(*write_candidate(tmp_path / "old")) == 1
    assert "are not compared with those that were looked at: records of format 1." in capsys.readouterr().out


@pytest.mark.parametrize("version", [7, None])
def test_a_decision_about_another_champion_than_its_generation_says_is_refused(tmp_path, version):
    registry = Registry(str(tmp_path / "registry"))
    generation = 0
    if version is None:
        promote_next(registry, tmp_path, "a")
        generation = registry.require_champion().generation
    candidate = write_candidate(tmp_path / "c", champion_version=version, champion_generation=generation)
    seen, found = ("no champion", "version 1") if version is None else ("version 7", "no champion")
    with pytest.raises(UserError, match=f"compared with {seen}, but by its generation it did with {found}"):
        registry.promote(*candidate)
    assert len(registry.numbers()) == (version is None)


@pytest.mark.parametrize("cut", [True, False])
def test_predictions_that_cannot_be_read_are_refused_by_the_file(examined, tmp_path, cut):
    path = examined[1] / "predictions.parquet"
    data = path.read_bytes()
    path.unlink()
    if cut:
        path.write_bytes(data[:-50])
    says = "is damaged: it is no Parquet file" if cut else "is missing: run evaluate_model again."
    assert f"{path} {says}" in refusal(tmp_path, examined)


def test_only_files_that_are_not_compared_are_said_not_to_be(examined, tmp_path, capsys):
    rewrite(examined[2] / "decision.json", evaluation_files={})
    promote_model(str(tmp_path / "registry"), *examined)
    assert "The files of evaluation are not compared" in capsys.readouterr().out


def test_a_record_that_lacks_fields_is_named_with_them(examined, tmp_path):
    path = examined[2] / "decision.json"
    path.write_text('{"format": 2, "outcome": "PROMOTE"}')
    message = refusal(tmp_path, examined)
    assert f"{path} is damaged: lacks 'reason', 'decision_id', 'candidate_fingerprint'" in message


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_file_of_a_bundle_is_named(tmp_path: Path, kind: str) -> None:
    bundle, evaluation, decision = write_candidate(tmp_path / "c")
    (tmp_path / "elsewhere").mkdir()
    if kind == "link":
        (bundle / "more").symlink_to(tmp_path / "elsewhere")
        says = "more is a link to a folder: put the folder itself in its place"
    else:
        os.mkfifo(bundle / "more")
        says = "more is a named pipe, and only files can be read: take it away"
    with pytest.raises(UserError, match=says):
        Registry(str(tmp_path / "registry")).promote(bundle, evaluation, decision)
