"""What training minimizes is what the settings say: computed again here from the probabilities of the bundle.

One step over all rows with next to no learning rate: the loss of training is then that of the exported weights.
"""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from kfp_bert_components.bert import read_bundle
from kfp_bert_components.data.splits import read_split
from kfp_bert_components.training import TrainingSettings, finetune
from tests.support.splits import write_split
from tests.support.training import LABELS, make_base_model, make_splits

STILL = {"epochs": 1, "learning_rate": 1e-9, "dropout": 0.0, "batch_size": 256}


@pytest.fixture(scope="module")
def base_model(tmp_path_factory):
    """A checkpoint that is sure of its answers, which fresh weights are not."""
    folder = make_base_model(tmp_path_factory.mktemp("base") / "model")
    arrays = load_file(folder / "model.safetensors")
    save_file({name: 10 * a if a.ndim == 2 else a for name, a in arrays.items()}, folder / "model.safetensors")
    return str(folder)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """A row of each other label for four animals, and texts longer than 8 tokens."""
    folder = make_splits(tmp_path_factory.mktemp("splits"))
    table = read_split(folder / "train").table
    kept = [i for i, label in enumerate(table.column("label").to_pylist()) if label == "animal" or i % 4 == 0]
    write_split(folder / "train", "train", LABELS, table.take(kept))
    return folder


@pytest.fixture
def loss_and_logs(base_model, splits, tmp_path):
    """Train for a step: the loss of it, log probabilities of the rows by the exported bundle, and their targets."""

    def run(**settings):
        places = [splits / "train", splits / "validation", tmp_path / "model", tmp_path / "report.html"]
        settings = {"base_model": base_model, "max_length": 32} | STILL | settings
        metrics = finetune(*places, TrainingSettings(**settings))
        rows = read_split(splits / "train").table
        targets = np.array([LABELS.index(label) for label in rows.column("label").to_pylist()])
        return (
            metrics["train_loss"],
            np.log(read_bundle(tmp_path / "model").predict(rows.column("text").to_pylist())),
            targets,
        )

    return run


def cross_entropy(logs, targets, smoothing=0.0, weights=(1.0, 1.0, 1.0)):
    wanted = np.eye(3)[targets] * (1 - smoothing) + smoothing / 3
    return np.average(-(wanted * logs).sum(axis=1), weights=np.array(weights)[targets])


def test_it_is_the_mean_cross_entropy_by_default(loss_and_logs):
    loss, logs, targets = loss_and_logs()
    assert loss == pytest.approx(cross_entropy(logs, targets), abs=1e-5)


def test_label_smoothing_spreads_its_share_over_all_labels(loss_and_logs):
    loss, logs, targets = loss_and_logs(label_smoothing=0.6)
    assert loss == pytest.approx(cross_entropy(logs, targets, smoothing=0.6), abs=1e-5)
    assert abs(loss - cross_entropy(logs, targets)) > 1e-2


def test_balanced_class_weights_give_every_label_the_same_say(loss_and_logs):
    loss, logs, targets = loss_and_logs(class_weights="balanced")
    assert loss == pytest.approx(cross_entropy(logs, targets, weights=1 / np.bincount(targets)), abs=1e-5)
    assert abs(loss - cross_entropy(logs, targets)) > 1e-2


def test_long_texts_are_cut_as_truncation_says(loss_and_logs):
    losses = {}
    for truncation in ("head", "head_tail"):
        losses[truncation], logs, targets = loss_and_logs(max_length=6, truncation=truncation)
        assert losses[truncation] == pytest.approx(cross_entropy(logs, targets), abs=1e-5)
    assert abs(losses["head"] - losses["head_tail"]) > 1e-2


@pytest.mark.parametrize("start", ["checkpoint", pytest.param("scratch", marks=pytest.mark.long)])
def test_dropout_is_at_work_in_training(loss_and_logs, start):
    settings = {} if start == "checkpoint" else {"base_model": "", "layers": 1, "width": 32, "heads": 2}
    loss, logs, targets = loss_and_logs(dropout=0.8, **settings)
    assert abs(loss - cross_entropy(logs, targets)) > 1e-3
