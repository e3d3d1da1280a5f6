"""Checkpoints of every released format are read, and what is damaged or newer is refused in a sentence."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from kfp_bert_components.errors import UserError
from kfp_bert_components.training.checkpoints import Checkpoints

FORMAT_1 = Path(__file__).parent / "format_1"  # written by a version that wrote format 1
IDENTITY = {"a": 1}


class Variable:
    """What a checkpoint asks of a variable of Keras or TensorFlow."""

    def __init__(self, value):
        self.value = value

    def numpy(self):
        return self.value


def opened(folder):
    return Checkpoints(str(folder), IDENTITY, minutes=5, steps=0)


def check_sample(checkpoint):
    state = checkpoint.state
    assert (state.trial, state.step, state.outcomes, state.examples, state.seconds) == (1, 2, ["finished"], 48, 1.5)
    assert state.curve == [(0, 1, 1.25, 1e-3, 0.5), (1, 1, 1.5, 1e-3, 0.75), (1, 2, 1.0, 5e-4, 0.25)]
    metrics = state.evaluations[0]["metrics"]
    assert (metrics["loss"], metrics["macro_f1"]) == (1.0, 0.5) and np.isnan(metrics["f1:é"])
    assert (state.best.trial, state.best.step) == (0, 1) and np.isnan(state.best.value)
    for found, expected in (
        (state.best.weights, [np.float32([[1, 2], [3, 4]]), np.array(7)]),
        (checkpoint.weights, [np.float32([[5, 6], [7, 8]]), np.array(9)]),
        (checkpoint.moments, [np.float32([0.5]), np.float32([0.25])]),
    ):
        for one, other in zip(found, expected, strict=True):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            np.testing.assert_array_equal(one, other)


def test_a_checkpoint_of_format_1_is_read():
    check_sample(opened(FORMAT_1).restore())


def test_what_is_saved_is_restored_and_older_checkpoints_are_removed(tmp_path):
    shutil.copytree(FORMAT_1, tmp_path, dirs_exist_ok=True)
    checkpoints = opened(tmp_path)
    sample = checkpoints.restore()
    sample.state.step = 3
    checkpoints.save(sample.state, *([Variable(v) for v in group] for group in (sample.weights, sample.moments)))
    (path,) = tmp_path.rglob("*.safetensors")
    again = opened(tmp_path).restore()
    assert again.state.step == 3
    again.state.step = 2
    check_sample(again)
    checkpoints.remove()
    assert not path.exists() and checkpoints.restore() is None


def test_a_run_with_another_identity_does_not_see_it():
    assert Checkpoints(str(FORMAT_1), {"a": 2}, minutes=5, steps=0).restore() is None


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"format": "2", "state": "{}"}, "has format 2, and this version reads 1: update kfp-bert-components"),
        ({"format": "1", "state": '{"trial": '}, "is damaged: .*; remove it, or go on with the version that wrote it"),
        ({"format": "1", "state": '{"other": 1}'}, "is damaged: its fields are not as expected"),
        (None, "has format None, and this version reads 1"),
    ],
)
def test_a_damaged_or_newer_checkpoint_is_refused(tmp_path, metadata, says):
    shutil.copytree(FORMAT_1, tmp_path, dirs_exist_ok=True)
    (path,) = tmp_path.rglob("*.safetensors")
    save_file(load_file(path), path, metadata=metadata)
    with pytest.raises(UserError, match=rf"The checkpoint .*0001-000000002\.safetensors {says}"):
        opened(tmp_path).restore()


def test_a_checkpoint_that_is_cut_is_named_at_every_try(tmp_path):
    shutil.copytree(FORMAT_1, tmp_path, dirs_exist_ok=True)
    (path,) = tmp_path.rglob("*.safetensors")
    for data in (path.read_bytes()[:-5], b"", b"version https://git-lfs.github.com/spec/v1\n"):
        path.write_bytes(data)
        for _ in range(2):
            with pytest.raises(UserError, match=rf"{path.name} is damaged \(.*\); remove it"):
                opened(tmp_path).restore()
