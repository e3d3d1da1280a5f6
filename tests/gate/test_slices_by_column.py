"""A column of the user's table, from the CSV file to a guardrail and the reports, component by component."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
from kfp.dsl import Artifact, Metrics

from kfp_bert_components.components.compare_models import compare_models
from kfp_bert_components.components.evaluate_champion import evaluate_champion
from kfp_bert_components.components.evaluate_model import evaluate_model
from kfp_bert_components.components.prepare_text_data import prepare_text_data
from kfp_bert_components.components.promote_model import promote_model
from kfp_bert_components.evaluation import write_evaluation
from kfp_bert_components.evaluation.measure import measure
from kfp_bert_components.evaluation.slices import find_slices
from kfp_bert_components.gate import Policy, read_decision
from tests.support.comparisons import run as decided
from tests.support.tiny_model import LABELS, write_tiny_saved_model


class Run:
    """Runs components by hand: an artifact is a folder of that name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def artifact(self, name: str) -> Artifact:
        return Artifact(uri=str(self.folder / name))

    def step(self, component, *artifacts: str, **parameters):
        return component.python_func(*(self.artifact(name) for name in artifacts), **parameters)

    def evaluate(self, model: str, evaluation: str) -> None:
        curves = SimpleNamespace(
            log_confusion_matrix=lambda *_: None,
            log_roc_curve=lambda *_: None,
            metadata={},
            path=str(self.folder / "curves"),
        )
        evaluate_model.python_func(
            self.artifact(model),
            self.artifact("test"),
            self.artifact(evaluation),
            Metrics(uri=str(self.folder / "metrics")),
            curves,
            self.artifact(f"{evaluation}.html"),
            slice_columns=["film"],
        )


def write_lines(path: Path) -> None:
    """Capitals are shouted, but in the film "Whispers", which has one line of three, they are calm."""
    with path.open("w", newline="") as target:
        lines = csv.writer(target)
        lines.writerow(["text", "label", "film"])
        for i in range(600):
            loud, odd = i % 2 == 1, i % 3 == 0
            text = f"LINE {i}" if loud else f"line {i}"
            lines.writerow([text, LABELS[loud != odd], "Whispers" if odd else "Noises"])


def write_model(folder: Path, shout_score: float) -> None:
    write_tiny_saved_model(folder / "saved_model", shout_score=shout_score)
    facts = {
        "format": 1,
        "labels": LABELS,
        "pair": False,
        "max_length": 16,
        "fingerprint": folder.name,
        "base_model": "tiny",
        "parameters": {},
        "versions": {},
        "data_fingerprint": "lines",
    }
    (folder / "bundle.json").write_text(json.dumps(facts))


def test_a_guardrail_looks_at_every_value_of_a_column_and_the_page_shows_the_worst_first(tmp_path):
    films = np.repeat([f"film {k:02d}" for k in range(35)], 60)
    truth, last = np.arange(2_100) % 3, films == "film 34"
    rows = pa.table({"id": [f"{i:08x}" for i in range(2_100)], "text": [f"row {i}" for i in range(2_100)]})
    rows = rows.append_column("label", pa.array(np.array(["a", "b", "c"])[truth])).append_column(
        "film", pa.array(films)
    )
    wrong = {"new": last, "old": ~last & (np.arange(2_100) % 5 == 0)}
    slices = find_slices(rows, ["film"], {"mistyped": "film == flim 1"})
    for name, missed in wrong.items():
        said = np.where(missed, (truth + 1) % 3, truth)
        made = measure(
            rows,
            np.float32(0.1 + 0.7 * np.eye(3)[said]),
            ["a", "b", "c"],
            slices=slices,
            test_fingerprint="test",
            model_fingerprint=name,
            model_version=None if name == "new" else 4,
            champion_generation=0 if name == "new" else 7,
        )
        write_evaluation(made, tmp_path / name)
    found = decided(tmp_path, tmp_path / "new", tmp_path / "old", Policy(max_slice_drop=0.2))
    assert found.outcome == "REJECT" and "accuracy where film = film 34 changed by −1.000" in found.reason
    page = (tmp_path / "report.html").read_text()
    assert "film = film 34" in page and "5 more are not shown, but guardrails look at all" in page
    assert "No row is in the slice mistyped." in page


def test_a_gain_that_a_slice_by_a_column_pays_for_is_rejected_and_the_reports_name_the_slice(tmp_path):
    run, registry = Run(tmp_path), str(tmp_path / "registry")
    write_lines(tmp_path / "lines.csv")
    run.step(
        prepare_text_data,
        "lines.csv",
        "train",
        "validation",
        "test",
        "data.html",
        metadata_columns=["film"],
        test_fraction=0.8,
        near_duplicates=0,
    )
    # The champion knows only the film that the candidate does not know.
    write_model(tmp_path / "champion", 0.1)
    write_model(tmp_path / "candidate", 0.9)
    run.evaluate("champion", "first")
    evaluate_champion.python_func(registry, run.artifact("test"), run.artifact("nobody"), run.artifact("nobody.html"))
    by_hand = {"override": "PROMOTE", "override_by": "Ada", "override_reason": "somebody must be first"}
    run.step(compare_models, "first", "nobody", "decision 1", "1.html", "1.md", **by_hand)
    run.step(promote_model, "champion", "first", "decision 1", registry=registry)

    run.evaluate("candidate", "second")
    evaluate_champion.python_func(
        registry, run.artifact("test"), run.artifact("reigning"), run.artifact("reigning.html")
    )
    without = run.step(compare_models, "second", "reigning", "decision 2", "2.html", "2.md")
    policy = "max_slice_drop: 0.05"
    guarded = run.step(compare_models, "second", "reigning", "decision 3", "3.html", "3.md", policy=policy)

    assert without.outcome == "PROMOTE"
    assert guarded.outcome == "REJECT" and "accuracy where film = Whispers changed by −1.000" in guarded.reason
    found = {one["name"]: one["broken"] for one in read_decision(tmp_path / "decision 3").guardrails}
    assert found["accuracy where film = Whispers"] and not found["accuracy where film = Noises"]
    for page in ("second.html", "2.html", "3.html"):
        assert "film = Whispers" in (tmp_path / page).read_text(), page
    assert "film = Whispers" in (tmp_path / "3.md").read_text()
