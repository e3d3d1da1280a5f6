"""Fine-tuning from a checkpoint and from scratch: what it writes, and what each setting does."""

import json
import math
import re
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest

from kfp_bert_components.bert import read_bundle
from kfp_bert_components.data.splits import read_split
from kfp_bert_components.errors import UserError
from kfp_bert_components.training import TrainingSettings, finetune
from kfp_bert_components.training.diagnosis import NotFiniteError, check_finite, explain
from kfp_bert_components.training.finetuning import with_measurable_metric
from tests.support.splits import write_split
from tests.support.training import LABELS, make_base_model, make_splits

REPORTED = (
    "Training and validation loss by epoch",
    "macro F1",
    "learning rate",
    "gradient norm",
    "Rows of each label",
    "No row is longer than 32 tokens",
    "The longest training rows",
    "Hardest validation rows",
)
SMALL = {"layers": 1, "width": 32, "heads": 2, "max_length": 32, "batch_size": 16}


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    return make_splits(tmp_path_factory.mktemp("splits"))


@pytest.fixture(scope="module")
def base_model(tmp_path_factory):
    return make_base_model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def train(splits, tmp_path):
    def run(folder=splits, **settings):
        places = [folder / "train", folder / "validation", tmp_path / "model", tmp_path / "report.html"]
        return finetune(*places, TrainingSettings(**{**SMALL, **settings}))

    return run


def test_from_scratch_it_learns_and_writes_a_bundle_and_a_report(train, splits, tmp_path, capsys):
    metrics = train(epochs=12, learning_rate=5e-3, tensorboard_dir=str(tmp_path / "logs"))
    progress = r"training \d+/1152 examples \(\d+ %\), +[\d.]+ examples/s, [\d:]+ left, loss"
    assert re.search(progress, capsys.readouterr().out)
    assert metrics["validation_accuracy"] > 0.9
    assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())
    bundle, validation = read_bundle(tmp_path / "model"), read_split(splits / "validation").table.to_pydict()
    found = [bundle.labels[i] for i in bundle.predict(validation["text"]).argmax(axis=1)]
    right = np.mean([one == other for one, other in zip(found, validation["label"], strict=True)])
    assert right == pytest.approx(metrics["validation_accuracy"])
    assert bundle.metadata["parameters"]["learning_rate"] == 5e-3
    page = (tmp_path / "report.html").read_text()
    about = re.search(r'<p class="about">.*?</p>', page)[0]
    assert (
        f"model: {bundle.fingerprint[:12]}<" in about
        and f"train split: {bundle.metadata['data_fingerprint'][:12]}" in about
    )
    for content in REPORTED:
        assert content in page
    assert _event_tags(tmp_path / "logs" / "seed_0") >= {"loss", "learning_rate", "validation/macro_f1"}


def test_a_pair_is_trained_and_exported_as_a_pair(train, tmp_path):
    folder = make_splits(tmp_path / "pairs", pair=True)
    metrics = train(folder, epochs=12, learning_rate=5e-3)
    assert metrics["validation_accuracy"] > 0.9
    found = read_bundle(tmp_path / "model").predict(["is here"], ["a very old horse"])
    assert LABELS[int(found.argmax())] == "animal"


def test_the_weights_of_the_best_evaluation_are_exported(train, base_model, splits, tmp_path, capsys):
    # a rate that only rises, and far too high: it learns first and forgets later
    metrics = train(base_model=str(base_model), epochs=6, learning_rate=0.3, warmup=1.0, metric="loss")
    lines = [line for line in capsys.readouterr().out.splitlines() if "validation loss" in line]
    losses = [float(line.split("validation loss ")[1].split(",")[0]) for line in lines]
    assert metrics["validation_loss"] == pytest.approx(min(losses), abs=1e-3)
    assert losses[-1] > min(losses) + 0.01
    rows = read_split(splits / "validation").table
    likely = read_bundle(tmp_path / "model").predict(rows.column("text").to_pylist())
    targets = [LABELS.index(label) for label in rows.column("label").to_pylist()]
    exported = -np.log(likely[np.arange(len(targets)), targets]).mean()
    assert exported == pytest.approx(metrics["validation_loss"], abs=1e-4)


def test_the_validation_loss_decides_where_validation_lacks_a_label_of_train(train, splits, tmp_path, capsys):
    folder = tmp_path / "lacking"
    shutil.copytree(splits / "train", folder / "train")
    table = read_split(splits / "validation").table
    write_split(folder / "validation", "validation", LABELS, table.filter(pc.not_equal(table["label"], "number")))
    # a rate far too high: the loss falls and rises again while macro F1 jumps
    metrics = train(folder, epochs=8, learning_rate=0.1, warmup=1.0)
    log, page = capsys.readouterr().out, (tmp_path / "report.html").read_text()
    note = "No validation row has the label 'number', which training rows have, so macro_f1 would not be over all"
    assert note in log and note.replace("'", "&#39;") in page
    losses = [float(loss) for loss in re.findall(r"validation loss ([\d.]+)", log)]
    assert metrics["validation_loss"] == pytest.approx(min(losses), abs=1e-3)
    assert read_bundle(tmp_path / "model").metadata["parameters"]["metric"] == "loss"


def test_the_metric_that_was_asked_for_decides_where_validation_has_all_labels_of_train(splits):
    train, validation = read_split(splits / "train"), read_split(splits / "validation")
    for metric, given in (("mcc", (train, validation)), ("loss", (train, replace(validation, table=train.table[:1])))):
        settings = TrainingSettings(metric=metric)
        assert with_measurable_metric(settings, *given) == (settings, "")
    without = train.table.filter(pc.not_equal(train.table["label"], "number"))
    lacking = replace(train, table=without), replace(validation, table=without)
    assert with_measurable_metric(TrainingSettings(), *lacking) == (TrainingSettings(), "")  # train lacks it too


@pytest.mark.parametrize("metric", ["macro_f1", pytest.param("f1:colour", marks=pytest.mark.long)])
def test_early_stopping_and_the_median_rule_save_steps(train, base_model, tmp_path, metric):
    metrics = train(base_model=str(base_model), epochs=30, learning_rate=1e-7, patience=2, seeds=3, metric=metric)
    assert metrics["epochs_trained"] < 20
    assert "trained to the end" not in (tmp_path / "report.html").read_text()


def test_all_of_the_other_settings_at_once(train, base_model):
    metrics = train(
        base_model=str(base_model),
        epochs=1,
        class_weights="balanced",
        label_smoothing=0.1,
        layer_decay=0.9,
        accumulation_steps=2,
        evaluations_per_epoch=2,
        precision="bfloat16",
        truncation="head_tail",
        dropout=0.2,
        metric="f1:animal",
    )
    assert metrics["steps"] == 3 and math.isfinite(metrics["validation_loss"])


def test_without_texts_the_report_shows_the_rows_by_id(train, base_model, tmp_path):
    train(base_model=str(base_model), epochs=1, keep_texts="ids")
    page = (tmp_path / "report.html").read_text()
    assert len(re.findall(r"id validation\d+", page)) == len(re.findall(r"id train\d+", page)) == 12
    assert not re.search(r"\b(cat|dog|horse|bird)\b", page)


def test_the_export_can_be_in_bfloat16(train, base_model, tmp_path, capsys):
    train(base_model=str(base_model), epochs=1, export_precision="bfloat16")
    assert "in bfloat16 the probabilities of 48 texts move by at most 0.0" in capsys.readouterr().out
    bundle = read_bundle(tmp_path / "model")
    assert bundle.metadata["precision"] == "bfloat16"
    assert "export_precision" not in bundle.metadata["parameters"]  # a checkpoint serves both
    np.testing.assert_allclose(bundle.predict(["a very old horse"]).sum(), 1, atol=1e-6)


def test_the_export_can_be_in_int8(train, base_model, tmp_path, capsys):
    train(base_model=str(base_model), epochs=1, export_precision="int8")
    assert "in int8 the probabilities of 48 texts move by at most 0.0" in capsys.readouterr().out
    bundle = read_bundle(tmp_path / "model")
    assert (bundle.engine, bundle.metadata["precision"]) == ("onnxruntime", "int8")
    np.testing.assert_allclose(bundle.predict(["a very old horse"]).sum(), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "losses", "cause"),
    [
        ({"learning_rate": 0.1}, [1.1, 1.4, 9.0], "learning_rate 0.1, which is too high: the loss rose from 1.1"),
        ({"learning_rate": 1e-5}, [1.1, 1.0, 0.9], "a step that was too long: try learning_rate 2e-06"),
    ],
)
def test_a_loss_that_is_nan_stops_with_the_step_and_the_cause(settings, losses, cause):
    curve = [(0, step + 1, loss, 1e-5, 1.0) for step, loss in enumerate([*losses, math.nan])]
    check_finite(curve[:-1])
    with pytest.raises(NotFiniteError):
        check_finite(curve)
    others = {"base_model": "", "precision": "float32", "max_gradient_norm": 1.0}
    assert re.search(f"stopped at step 4 because the loss is nan; .*{cause}", explain(curve, **others, **settings))


def test_broken_weights_are_named_as_the_cause(train, base_model, tmp_path):
    import shutil

    from safetensors.numpy import load_file, save_file

    broken = shutil.copytree(base_model, tmp_path / "broken")
    arrays = load_file(broken / "model.safetensors")
    name = next(name for name in arrays if "LayerNorm.weight" in name)
    save_file(arrays | {name: np.full_like(arrays[name], np.nan)}, broken / "model.safetensors")
    with pytest.raises(UserError, match=r"stopped at step 1 .*broken', whose weights are not finite"):
        train(base_model=str(broken), epochs=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "auc"}, "metric is 'auc'"),
        ({"base_model": "/no/such/folder"}, "/no/such/folder"),
        ({"max_length": 64}, "max_length is 64, but .* has only 32 positions"),
    ],
)
def test_wrong_settings_are_named(train, base_model, settings, message):
    settings = {"base_model": str(base_model)} | settings
    with pytest.raises(UserError, match=message):
        train(**settings)


def test_splits_of_two_preparations_are_refused(train, splits, tmp_path):
    folder = make_splits(tmp_path / "other")
    header = json.loads((folder / "validation" / "split.json").read_text())
    (folder / "validation" / "split.json").write_text(json.dumps(header | {"labels": ["x", *LABELS[1:]]}))
    with pytest.raises(UserError, match="don't have the same labels"):
        train(folder)


def _event_tags(folder):
    import tensorflow as tf
    from tensorflow.core.util import event_pb2

    records = tf.data.TFRecordDataset([str(path) for path in folder.iterdir()])
    events = [event_pb2.Event.FromString(record.numpy()) for record in records]
    return {value.tag for event in events for value in event.summary.value}
