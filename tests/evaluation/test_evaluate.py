"""Evaluating a SavedModel: everything is kept, the UI's artifacts are filled, bad input is named."""

import json
import math
import re
from html import unescape
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from kfp.dsl import Artifact, Metrics
from sklearn.metrics import roc_auc_score

from kfp_bert_components.bert import new_classifier, read_bundle, write_bundle
from kfp_bert_components.data.splits import read_split
from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation import Slicing, evaluate, read_evaluation
from kfp_bert_components.evaluation.measure import measure
from kfp_bert_components.steps.evaluate_champion import evaluate_champion
from kfp_bert_components.steps.evaluate_model import evaluate_model
from tests.support.evaluations import NO_PROBABILITIES, scores, write_numbers
from tests.support.splits import write_split
from tests.support.tiny_model import LABELS, write_tiny_saved_model

TEXTS = ["HELLO THERE", "hello <b>there</b>", "GO", "come in now please", "WHAT IS IT", "Stop", "no way", "YES"] * 6


@pytest.mark.parametrize("nothing", ["", " ", None])
def test_texts_without_a_group_are_evidence_each_for_itself(nothing):
    ids = [f"{i // 2}" for i in range(80)]  # two rows of each text
    groups = [nothing] * 60 + ["customer"] * 20
    table = pa.table({"id": ids, "text": ids, "label": ["a", "b"] * 40, "customer": groups})
    even = np.full((80, 2), 0.5, np.float32)
    found = measure(table, even, ["a", "b"], slices={}, test_fingerprint="test", evidence_by="customer")
    assert found.clusters().numbers.tolist() == [*np.repeat(range(30), 2), *[30] * 20]
    assert found.size() == "80 rows, 31 values of customer or texts (60 rows without a value, counted by text)"
    assert found.unit == "values of customer or texts"
    assert found.size(np.arange(80) >= 60) == "20 rows, 1 value of customer"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    write_tiny_saved_model(folder / "saved_model")
    settings = {"format": 1, "labels": LABELS, "pair": False, "fingerprint": "tiny", "max_length": 16}
    (folder / "bundle.json").write_text(json.dumps(settings))
    return folder


def split(folder, labels=LABELS, texts=TEXTS, wrong=1, ids=None):
    right = ["shout" if text.isupper() else "calm" for text in texts]
    given = [one if i % 8 != wrong else "shout" for i, one in enumerate(right)]
    rows = range(len(texts))
    table = pa.table(
        {
            "id": ids or [f"{i:016x}" for i in rows],
            "text": texts,
            "label": given,
            "source": [f"film {i % 2}" for i in rows],
            "source_row": [i + 2 for i in rows],
        }
    )
    write_split(folder, "test", labels, table)
    return folder


def test_every_prediction_is_kept_and_the_page_escapes_texts(model, tmp_path, capsys):
    slicing = Slicing(["source"], {"shouted": "text ~ ^[A-Z ]+$", "mistyped": "source == flim 0"})
    found = evaluate_model(model, split(tmp_path / "t"), tmp_path / "e", tmp_path / "r.html", slicing)
    again = read_evaluation(tmp_path / "e")
    assert again.predictions.num_rows == 48 and again.labels == LABELS and not again.empty
    assert again.metrics == found.metrics and again.metrics["accuracy"]["value"] == pytest.approx(42 / 48)
    assert again.probabilities() == pytest.approx(found.probabilities())
    assert {"source = film 0", "source = film 1", "shouted"} <= set(again.slices)
    assert again.members("shouted").sum() == 24
    assert (again.model_fingerprint, again.test_fingerprint) == ("tiny", read_split(tmp_path / "t").fingerprint)
    assert again.majority_share == 30 / 48 and again.confusion() == [[18, 0], [6, 24]]
    assert again.predictions.column_names[:4] == ["id", "text", "label", "probabilities"]
    assert again.overall().keys() >= {"accuracy", "latency_p50_ms"} and "f1:calm" not in again.overall()
    assert again.system["latency_p95_ms"] >= again.system["latency_p50_ms"] > 0 and again.system["size_bytes"] > 0
    html = (tmp_path / "r.html").read_text()
    assert "&lt;b&gt;there" in html and "<b>there" not in html
    assert "No row is in the slice mistyped." in html
    assert "No test row is in the slice 'mistyped': look at its rule in slice_rules." in capsys.readouterr().out
    about = unescape(re.search(r'<p class="about">.*?</p>', html)[0])
    shown = f"test set: {again.test_fingerprint[:12]}, rows of 'film 0', 'film 1'<"
    assert all(
        one in about for one in ("model: tiny<", shown, "trained from: scratch<", f" UTC, to {tmp_path}/r.html<")
    )


def test_without_texts_ids_labels_and_probabilities_stay_and_the_page_shows_file_and_row(model, tmp_path):
    """A person's text must not be found in what is kept: neither in the evaluation nor on its page."""
    test = split(tmp_path / "t")
    whole = evaluate_model(model, test, tmp_path / "all", tmp_path / "all.html")
    found = evaluate_model(model, test, tmp_path / "ids", tmp_path / "ids.html", keep_texts="ids")
    assert found.metrics.keys() == whole.metrics.keys()
    names = read_evaluation(tmp_path / "ids").predictions.column_names
    assert set(whole.predictions.column_names) - set(names) == {"text"}
    assert names[:6] == ["id", "label", "probabilities", "text_key", "source", "source_row"]
    assert "hello" in (tmp_path / "all.html").read_text() and "hello" not in (tmp_path / "ids.html").read_text()
    for text in (b"come in now", b"hello", b"no way"):
        assert text in (tmp_path / "all" / "predictions.parquet").read_bytes()
        assert text not in (tmp_path / "ids" / "predictions.parquet").read_bytes()
    for page in ("all.html", "ids.html"):
        assert "film 1 row 3" in (tmp_path / page).read_text()
    with pytest.raises(UserError, match="keep_texts is 'some', but it must be 'all' or 'ids'"):
        evaluate(model, test, tmp_path / "e", keep_texts="some")


def test_rows_of_a_split_that_does_not_know_their_places_are_shown_by_their_ids(model, tmp_path):
    table = pa.table({"id": ["aa", "bb"], "text": ["Calm words", "more of them"], "label": ["shout", "calm"]})
    write_split(tmp_path / "t", "test", LABELS, table)
    evaluate_model(model, tmp_path / "t", tmp_path / "e", tmp_path / "ids.html", keep_texts="ids")
    assert "id aa" in (tmp_path / "ids.html").read_text()
    evaluate_model(model, tmp_path / "t", tmp_path / "e", tmp_path / "all.html")
    assert "id aa" not in (tmp_path / "all.html").read_text()


def test_the_component_fills_the_ui_with_finite_numbers(model, tmp_path):
    from kfp_bert_components.components.evaluate_model import evaluate_model as component

    curves, metrics = {}, Metrics(uri=str(tmp_path / "metrics"))
    artifact = {name: Artifact(uri=str(tmp_path / name)) for name in ("evaluation", "report")}
    component.python_func(
        SimpleNamespace(path=str(model)),
        SimpleNamespace(path=str(split(tmp_path / "t"))),
        artifact["evaluation"],
        metrics,
        SimpleNamespace(
            path=str(tmp_path / "curves"),
            metadata=curves,
            log_confusion_matrix=lambda labels, matrix: curves.update(labels=labels, matrix=matrix),
            log_roc_curve=lambda *parts: curves.update(roc=parts),
        ),
        artifact["report"],
    )
    logged = metrics.metadata
    assert json.loads((tmp_path / "metrics").read_text()) == logged
    assert artifact["evaluation"].metadata.items() >= {"rows": 48, "classes": 2, **logged}.items()
    assert {"accuracy", "macro_f1", "mcc", "log_loss", "brier", "ece", "roc_auc", "pr_auc"} <= set(logged)
    assert logged["latency_p95_ms"] > 0
    assert all(math.isfinite(value) for value in logged.values())
    assert curves["matrix"] == [[18, 0], [6, 24]]
    assert json.loads((tmp_path / "curves").read_text())["matrix"] == curves["matrix"]
    assert all(math.isfinite(value) for part in curves["roc"] for value in part)


def test_no_champion_gives_an_empty_evaluation(tmp_path):
    test, page = split(tmp_path / "t"), tmp_path / "r.html"
    assert evaluate_champion(str(tmp_path / "registry"), test, tmp_path / "e", page) == ""
    found = read_evaluation(tmp_path / "e")
    assert found.empty and found.champion_generation == 0 and found.labels == LABELS and not found.alarm
    assert "There is no champion yet" in page.read_text()


def test_a_label_that_the_model_does_not_know_is_named_or_counts_as_missed(model, tmp_path):
    test = split(tmp_path / "t", [*LABELS, "whisper"])
    with pytest.raises(UserError, match="'whisper'"):
        evaluate(model, test, tmp_path / "e")
    found = evaluate(model, test, tmp_path / "e", new_labels=True)
    assert found.labels == [*LABELS, "whisper"] and not found.probabilities()[:, 2].any()
    assert (found.new_labels, found.known_labels) == (["whisper"], LABELS)


def test_the_evaluation_of_a_champion_says_which_version_and_pointer_it_is_of(model, tmp_path):
    def sure(texts, pairs):
        assert pairs is None
        return np.tile([0.9, 0.1], (len(texts), 1))

    test = split(tmp_path / "t")
    found = evaluate(model, test, tmp_path / "e", model_version=4, champion_generation=7, predict=sure)
    assert (found.model_version, found.champion_generation) == (4, 7)
    assert (read_evaluation(tmp_path / "e").model_version, read_evaluation(tmp_path / "e").champion_generation) == (
        4,
        7,
    )
    assert evaluate(model, test, tmp_path / "f", predict=sure).champion_generation == 0


def test_texts_are_asked_in_the_order_of_their_lengths_and_answers_keep_the_order_of_the_rows(model, tmp_path):
    asked = []

    def by_length(texts, pairs):
        asked.append(texts)
        lengths = np.array([len(text) / 100 for text in texts])
        return np.stack([lengths, 1 - lengths], 1)

    texts = [f"{i:04} " + "x" * (i * 7 % 50) for i in range(5000)]
    found = evaluate(model, split(tmp_path / "t", texts=texts), tmp_path / "e", predict=by_length)
    assert found.probabilities()[:, 0] == pytest.approx([len(text) / 100 for text in texts])
    assert [len(some) for some in asked[:2]] == [4096, 904]
    assert [len(text) for text in asked[0]] == sorted(len(text) for text in texts)[:4096]
    # Then single texts are timed: ten to warm up, and 60 of all lengths.
    single = [len(text) for (text,) in asked[2:]]
    assert len(single) == 70 and single[10:] == sorted(single[10:])
    assert (single[10], single[-1]) == (min(map(len, texts)), max(map(len, texts)))
    assert found.system["size_bytes"] == sum(
        p.stat().st_size for p in (model / "saved_model").rglob("*") if p.is_file()
    )


@pytest.mark.parametrize(
    ("precision", "engine"), [("float32", "onnxruntime"), ("bfloat16", "tensorflow"), ("int8", "onnxruntime")]
)
def test_what_will_serve_is_evaluated_and_the_evaluation_names_it(tmp_path, monkeypatch, capsys, precision, engine):
    monkeypatch.setenv("ARGO_PROGRESS_FILE", str(tmp_path / "progress"))
    classifier = new_classifier(TEXTS, LABELS, vocabulary_size=60, layers=1, width=32, max_length=16)
    settings = {"base_model": "", "parameters": {}, "data_fingerprint": "", "pair": False, "max_length": 16}
    write_bundle(tmp_path / "m", classifier, precision=precision, check_texts=TEXTS, **settings)
    evaluate_model(tmp_path / "m", split(tmp_path / "t"), tmp_path / "e", tmp_path / "r.html")
    found, bundle = read_evaluation(tmp_path / "e"), read_bundle(tmp_path / "m")
    assert (found.engine, found.precision) == (engine, precision)
    asked = bundle.predict(found.predictions["text"].to_pylist(), engine=engine)
    assert found.probabilities() == pytest.approx(asked, abs=1e-6)
    assert f"answered by: {engine} in {precision}" in unescape((tmp_path / "r.html").read_text())
    assert found.system["size_bytes"] == bundle.size_bytes
    assert re.search(r"^Memory: about [\d.]+ GB needed, [\d.]+ GB available.$", capsys.readouterr().out, re.MULTILINE)
    assert (tmp_path / "progress").read_text() == "48/48\n"


def test_pairs_of_texts_are_asked_together(tmp_path):
    settings = {"format": 1, "labels": LABELS, "pair": True, "fingerprint": "tiny", "max_length": 16}
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "bundle.json").write_text(json.dumps(settings))
    texts = [str(i) * (i % 5 + 1) for i in range(50)]
    table = {"id": [f"{i:016x}" for i in range(50)], "text": texts, "text_pair": [f"{text}!" for text in texts]}
    write_split(tmp_path / "t", "test", LABELS, pa.table({**table, "label": LABELS * 25}))

    def check(some, others):
        assert others == [f"{text}!" for text in some]
        return np.tile([0.9, 0.1], (len(some), 1))

    found = evaluate(tmp_path, tmp_path / "t", tmp_path / "e", predict=check)
    assert found.predictions["text_pair"].to_pylist() == table["text_pair"]


@pytest.mark.parametrize(("wrong", "message"), NO_PROBABILITIES.items())
def test_a_model_whose_answers_are_no_probabilities_is_refused_by_row(model, tmp_path, wrong, message):
    texts = ["a", "bb", "ccc", "dddd", "five", "six", "WRONG", "YES"]

    def broken(some, pairs):
        return np.array([wrong if text == "WRONG" else (0.9995, 0.0) for text in some])

    test = split(tmp_path / "t", texts=texts)
    with pytest.raises(UserError) as raised:
        evaluate(model, test, tmp_path / "e", model_version=4, predict=broken)
    assert f"Version 4 can't be evaluated: row 7 (id '{6:016x}') has the probabilities {message}." in str(raised.value)
    with pytest.raises(UserError, match="The model can't be evaluated: row 7"):
        evaluate(model, test, tmp_path / "e", predict=broken)
    assert not (tmp_path / "e").exists()


def test_a_model_with_another_number_of_answers_than_labels_is_refused(model, tmp_path):
    with pytest.raises(UserError, match="gives 1 probabilities for 2 labels"):
        evaluate(model, split(tmp_path / "t"), tmp_path / "e", predict=lambda texts, pairs: np.ones((len(texts), 1)))


@pytest.mark.parametrize(("rows", "shape"), [(lambda n: (n - 1, 2), r"\(47, 2\)"), (lambda n: (n,), r"\(48,\)")])
def test_a_model_whose_answers_are_not_one_row_a_text_is_refused(model, tmp_path, rows, shape):
    with pytest.raises(UserError, match=f"answers 48 texts with an array of the shape {shape}: it must have a row"):
        evaluate(model, split(tmp_path / "t"), tmp_path / "e", predict=lambda some, _: np.full(rows(len(some)), 0.5))


def test_the_page_shows_accuracy_on_texts_that_train_has_and_on_the_others(model, tmp_path):
    place = split(tmp_path / "before")
    evaluate_model(model, place, tmp_path / "e", tmp_path / "r.html")
    assert "train split" not in (tmp_path / "r.html").read_text()
    table = read_split(place).table
    seen = [text in ("GO", "Stop", "YES") for text in table["text"].to_pylist()]
    write_split(tmp_path / "t", "test", LABELS, table.append_column("in_train", pa.array(seen)))
    found = evaluate_model(model, tmp_path / "t", tmp_path / "e2", tmp_path / "r2.html")
    assert found.slices[:2] == ["text in train", "text not in train"]
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (tmp_path / "r2.html").read_text()))
    assert "text in train 18 37.5 % 100.0 %" in page and "text not in train 30 62.5 % 80.0 %" in page
    assert page.index("text not in train") < page.index(" Metrics ")
    write_split(tmp_path / "new", "test", LABELS, table.append_column("in_train", pa.array([False] * len(seen))))
    evaluate_model(model, tmp_path / "new", tmp_path / "e3", tmp_path / "r3.html")
    assert "No test row has a text that the train split of its run has" in (tmp_path / "r3.html").read_text()


def test_the_roc_curve_is_that_of_the_second_class_or_of_all_classes_together(tmp_path):
    rng = np.random.default_rng(0)

    def curve(truth, probabilities, labels, **options):
        folder = write_numbers(tmp_path / str(rng.integers(10**9)), truth, probabilities, labels)
        return [np.array(part) for part in read_evaluation(folder).roc_curve(**options)]

    for classes, rows in ((2, 300), (3, 300), (3, 20_001)):
        truth = rng.integers(0, classes, rows)
        found = scores(rng, truth, classes, 2.0).astype(np.float32)
        false, true, thresholds = curve(truth, found, list("abc")[:classes])
        hits, values = (truth == 1, found[:, 1]) if classes == 2 else (np.eye(3)[truth].ravel() > 0, found.ravel())
        assert len(false) <= 100 and (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
        assert thresholds[0] == 1 and (np.diff(thresholds) <= 0).all()
        assert np.trapezoid(true, false) == pytest.approx(roc_auc_score(hits, values), abs=0.01)
        for x, y, threshold in list(zip(false, true, thresholds, strict=True))[1::20]:
            assert (x, y) == pytest.approx(
                ((values >= threshold)[~hits].mean(), (values >= threshold)[hits].mean()), abs=1e-3
            )
    assert len(curve(truth, found, list("abc"), points=10)[0]) <= 10
    for alone in (np.zeros(5, int), np.ones(5, int)):
        diagonal = curve(alone, np.full((5, 2), 0.5), ["a", "b"])
        assert [part.tolist() for part in diagonal] == [[0, 1], [0, 1], [1, 0]]


def test_the_log_and_the_page_say_how_many_texts_the_rows_are(model, tmp_path, capsys):
    found = evaluate_model(model, split(tmp_path / "t", ids=TEXTS), tmp_path / "e", tmp_path / "r.html")
    assert (found.evidence_by, found.clusters().count) == ("text", 8)
    printed = capsys.readouterr().out
    assert "Evaluated on 48 rows, 8 texts." in printed
    assert "Class 'calm': 18 rows, 3 texts; they are worth 3.0 independent rows." in printed
    html = (tmp_path / "r.html").read_text()
    assert "Evaluation on 48 test rows, 8 texts" in html and "(18 rows, 3 texts)" in html
    rows = evaluate_model(model, tmp_path / "t", tmp_path / "e2", tmp_path / "r2.html", evidence_by="row")
    assert rows.clusters().single and "48 test rows (" not in (tmp_path / "r2.html").read_text()
    wide, narrow = (one.metrics["accuracy"] for one in (found, rows))
    assert wide["value"] == narrow["value"]
    assert wide["high"] - wide["low"] > 1.8 * (narrow["high"] - narrow["low"])


def test_evidence_is_counted_by_a_column_and_a_missing_one_is_named(model, tmp_path):
    found = evaluate(model, split(tmp_path / "t"), tmp_path / "e", evidence_by="source")
    again = read_evaluation(tmp_path / "e")
    assert again.evidence_by == "source" and again.clusters().count == 2 and not again.clusters().copies
    assert again.size() == "48 rows, 2 values of source"
    assert again.predictions["cluster"].to_pylist()[:3] == ["film 0", "film 1", "film 0"]
    assert found.metrics["accuracy"]["low"] < evaluate(model, tmp_path / "t", tmp_path / "x").metrics["accuracy"]["low"]
    with pytest.raises(
        UserError, match=r"evidence_by names the column 'film'; the test split has id, .*metadata_columns"
    ):
        evaluate(model, tmp_path / "t", tmp_path / "f", evidence_by="film", predict=never)
    with pytest.raises(UserError, match="'film'"):
        evaluate(model, tmp_path / "t", tmp_path / "f", slicing=Slicing(columns=["film"]), predict=never)


def never(texts, pairs):
    raise AssertionError("the model was asked before the columns were looked at")
