"""Evaluating a SavedModel: everything is kept, the UI's artifacts are filled, bad input is named."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.evaluation import Slicing, evaluate, read_evaluation
from kfp_bert_components.evaluation.slices import find_slices
from kfp_bert_components.steps.evaluate_champion import evaluate_champion
from kfp_bert_components.steps.evaluate_model import evaluate_model
from tests.support.splits import write_split
from tests.support.tiny_model import LABELS, write_tiny_saved_model

TEXTS = ["HELLO THERE", "hello <b>there</b>", "GO", "come in now please", "WHAT IS IT", "Stop", "no way", "YES"] * 6


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    write_tiny_saved_model(folder / "saved_model")
    settings = {"format": 1, "labels": LABELS, "pair": False, "fingerprint": "tiny", "max_length": 16}
    (folder / "bundle.json").write_text(json.dumps(settings))
    return folder


def split(folder, labels=LABELS, texts=TEXTS, wrong=1):
    right = ["shout" if text.isupper() else "calm" for text in texts]
    given = [one if i % 8 != wrong else "shout" for i, one in enumerate(right)]
    rows = range(len(texts))
    table = pa.table(
        {
            "id": [f"{i:016x}" for i in rows],
            "text": texts,
            "label": given,
            "source": [f"film {i % 2}" for i in rows],
        }
    )
    write_split(folder, "test", labels, table)
    return folder


def test_every_prediction_is_kept_and_the_page_escapes_texts(model, tmp_path):
    slicing = Slicing(["source"], {"shouted": "text ~ ^[A-Z ]+$"})
    found = evaluate_model(model, split(tmp_path / "t"), tmp_path / "e", tmp_path / "r.html", slicing)
    again = read_evaluation(tmp_path / "e")
    assert again.predictions.num_rows == 48 and again.labels == LABELS and not again.empty
    assert again.metrics == found.metrics and again.metrics["accuracy"]["value"] == pytest.approx(42 / 48)
    assert again.probabilities() == pytest.approx(found.probabilities())
    assert {"source = film 0", "source = film 1", "shouted"} <= set(again.slices)
    assert again.members("shouted").sum() == 24
    assert again.system["latency_p95_ms"] >= again.system["latency_p50_ms"] > 0 and again.system["size_bytes"] > 0
    html = (tmp_path / "r.html").read_text()
    assert "&lt;b&gt;there" in html and "<b>there" not in html


def test_the_component_fills_the_ui_with_finite_numbers(model, tmp_path):
    from kfp_bert_components.components.evaluate_model import evaluate_model as component

    logged, curves = {}, {}
    artifact = {name: SimpleNamespace(path=str(tmp_path / name)) for name in ("evaluation", "report")}
    component.python_func(
        SimpleNamespace(path=str(model)),
        SimpleNamespace(path=str(split(tmp_path / "t"))),
        artifact["evaluation"],
        SimpleNamespace(log_metric=logged.__setitem__),
        SimpleNamespace(
            log_confusion_matrix=lambda labels, matrix: curves.update(labels=labels, matrix=matrix),
            log_roc_curve=lambda *parts: curves.update(roc=parts),
        ),
        artifact["report"],
    )
    assert {"accuracy", "macro_f1", "mcc", "log_loss", "brier", "ece", "roc_auc", "pr_auc"} <= set(logged)
    assert logged["latency_p95_ms"] > 0
    assert all(math.isfinite(value) for value in logged.values())
    assert curves["matrix"] == [[18, 0], [6, 24]]
    assert all(math.isfinite(value) for part in curves["roc"] for value in part)


def test_no_champion_gives_an_empty_evaluation(tmp_path):
    assert evaluate_champion(str(tmp_path / "registry"), split(tmp_path / "t"), tmp_path / "e") == ""
    found = read_evaluation(tmp_path / "e")
    assert found.empty and found.champion_generation == 0 and found.labels == LABELS


def test_a_label_that_the_model_does_not_know_is_named_or_counts_as_missed(model, tmp_path):
    test = split(tmp_path / "t", [*LABELS, "whisper"])
    with pytest.raises(UserError, match="'whisper'"):
        evaluate(model, test, tmp_path / "e")
    found = evaluate(model, test, tmp_path / "e", new_labels=True)
    assert found.labels == [*LABELS, "whisper"] and not found.probabilities()[:, 2].any()


def test_probabilities_that_are_no_numbers_are_refused(model, tmp_path):
    def broken(texts, pairs):
        return np.full((len(texts), 2), np.nan)

    with pytest.raises(UserError, match="no numbers"):
        evaluate(model, split(tmp_path / "t"), tmp_path / "e", predict=broken)


def test_damaged_evaluations_are_refused(tmp_path):
    with pytest.raises(NotFoundError, match="holds no evaluation"):
        read_evaluation(tmp_path)
    for text, message in (
        ('{"format": 9}', "format 9"),
        ("nonsense", "no JSON"),
        ('{"format": 1, "empty": true}', "is damaged: lacks 'labels', 'test_fingerprint'"),
    ):
        (tmp_path / "evaluation.json").write_text(text)
        with pytest.raises(UserError, match=message):
            read_evaluation(tmp_path)


def test_rules_of_slices():
    years = [1990, 2000, None, 2010]
    table = pa.table({"text": ["a b c", "a", "b c", "d e f g"], "label": list("xyxy"), "year": years})
    rules = {"long": "length > 2", "late": "year >= 2000", "not x": "label != 'x'"}
    found = find_slices(table, ["label"], rules)
    assert found["long"].tolist() == [True, False, False, True]
    assert found["late"].tolist() == [False, True, False, True]
    assert found["not x"].tolist() == found["label = y"].tolist() == [False, True, False, True]
    for rule, message in (
        ("what", "COLUMN OPERATOR VALUE"),
        ("age > 3", "names the column 'age'"),
        ("label > 3", "compares numbers"),
        ("text ~ (", "regular expression"),
    ):
        with pytest.raises(UserError, match=message):
            find_slices(table, (), {"s": rule})
