"""Checkpoints: written in the background, never half, each run its own; every released format is read."""

import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from kfp_bert_components.errors import UserError
from kfp_bert_components.training.checkpoints import Checkpoints
from kfp_bert_components.training.state import RunState
from tests.support.stores import every_place as place
from tests.support.stores import gcs, s3

__all__ = ["gcs", "place", "s3"]

FORMAT_1 = Path(__file__).parent / "format_1"  # written by a version that wrote format 1
IDENTITY = {"a": 1}


def opened(folder, owner="model", **settings):
    return Checkpoints(str(folder), IDENTITY, owner, **{"minutes": 5, "steps": 0} | settings)


def save(checkpoints, step, value=1.0):
    checkpoints.save(RunState(step=step), [np.full(3, value, np.float32)], [])


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
    checkpoints.save(sample.state, sample.weights, sample.moments)
    checkpoints.wait()
    (path,) = tmp_path.rglob("*.safetensors")
    again = opened(tmp_path).restore()
    assert again.state.step == 3
    again.state.step = 2
    check_sample(again)
    checkpoints.remove()
    assert not path.exists() and checkpoints.restore() is None


def test_a_run_with_another_identity_does_not_see_it():
    assert Checkpoints(str(FORMAT_1), {"a": 2}, "model", minutes=5, steps=0).restore() is None


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


def test_training_goes_on_while_a_checkpoint_is_written(gcs):
    gcs.latency = 0.3
    checkpoints = opened("gs://bucket/checkpoints", minutes=0)
    save(checkpoints, 1)
    assert not checkpoints.due(RunState(step=2))  # though it is time: the one before is being written
    checkpoints.wait()
    assert checkpoints.due(RunState(step=2))
    assert checkpoints.restore().state.step == 1


def test_a_checkpoint_holds_the_weights_of_its_step(tmp_path):
    import tensorflow as tf

    from kfp_bert_components.training.trainer import values_of

    variable, checkpoints = tf.Variable(np.zeros(4_000_000, np.float32)), opened(tmp_path)
    checkpoints.save(RunState(step=1), values_of([variable]), values_of([variable]))
    variable.assign_add(tf.ones(4_000_000))
    checkpoints.wait()
    found = checkpoints.restore()
    assert not found.weights[0].any() and not found.moments[0].any()


def test_the_next_checkpoint_is_begun_so_early_that_it_is_whole_in_time(tmp_path, monkeypatch):
    later, clock = [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + later[0])

    class Slow:
        def __array__(self, *_, **__):
            later[0] += 30
            return np.float32([1])

    checkpoints = opened(tmp_path)
    later[0] = 230
    assert not checkpoints.due(RunState(step=1))
    later[0] = 241  # a fifth of the time is left for the first one, of which nothing is known yet
    assert checkpoints.due(RunState(step=1))
    checkpoints.save(RunState(step=1), [Slow()], [])
    checkpoints.wait()
    for seconds, due in ((30, False), (260, False), (271, True)):
        later[0] = 241 + seconds
        assert checkpoints.due(RunState(step=2)) == due, seconds
    assert not checkpoints.due(RunState(step=1))  # it has one


def test_where_writing_takes_too_long_for_the_promise_a_warning_says_so_once(tmp_path, monkeypatch, capsys):
    later, clock = [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + later[0])

    class Slow:
        def __array__(self, *_, **__):
            later[0] += 160
            return np.float32([1])

    checkpoints = opened(tmp_path)
    for step in (1, 2):
        checkpoints.save(RunState(step=step), [Slow()], [])
        checkpoints.wait()
    said = capsys.readouterr().out
    assert said.count("warning: ") == 1
    assert "a checkpoint takes 160 s, so up to 320 s of training are lost if the step is killed, not 300 s as" in said


def test_two_runs_with_the_same_data_and_settings_leave_each_others_checkpoints_alone(place):
    one, two = opened(place, "one"), opened(place, "two")
    save(one, 5, 1.0)
    one.wait()
    save(two, 3, 2.0)
    two.wait()
    assert opened(place, "two").restore().state.step == 5  # the newest, whoever wrote it
    two.remove()
    assert opened(place, "two").restore().weights[0].tolist() == [1, 1, 1]
    save(one, 6)
    one.remove()
    assert opened(place, "one").restore() is None


def test_what_a_run_went_on_from_is_removed_when_it_has_one_of_its_own(place):
    before = opened(place, "before")
    save(before, 5)
    before.wait()
    after = opened(place, "after")
    after.restore()
    save(after, 6)
    after.wait()
    assert before.restore().state.step == 6
    after.remove()
    assert before.restore() is None


def test_a_run_that_is_started_again_and_saved_at_the_same_step_keeps_its_checkpoint(place):
    for _ in range(2):
        checkpoints = opened(place)
        checkpoints.restore()
        save(checkpoints, 5)
        checkpoints.wait()
    assert opened(place).restore().state.step == 5


def test_a_checkpoint_that_can_not_be_removed_is_a_warning_and_no_lost_training(gcs, capsys):
    gcs.create_bucket("kept", forbidden={"storage.objects.delete"})
    first = opened("gs://kept/checkpoints", "first")
    save(first, 1)
    second = opened("gs://kept/checkpoints", "second")
    first.wait()
    assert second.restore().state.step == 1
    save(second, 2)
    second.wait()
    second.remove()
    said = capsys.readouterr().out
    assert said.count("warning: a checkpoint that is not needed any more could not be removed: ") == 2
    assert "could not be written" not in said and opened("gs://kept/checkpoints").restore().state.step == 2


def test_a_checkpoint_of_another_user_can_be_gone_on_from_and_stays(capsys):
    if os.getuid():
        pytest.skip("only root can act as two users")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        os.chmod(folder, 0o755)
        first = opened(folder, "first")
        save(first, 1)
        first.wait()
        os.seteuid(65534)
        try:
            second = opened(folder, "second")
            assert second.restore().state.step == 1
            second.remove()
        finally:
            os.seteuid(0)
        assert "could not be removed: " in capsys.readouterr().out and first.restore().state.step == 1


def test_a_checkpoint_that_can_not_be_written_is_a_warning(tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    folder.write_text("a file")
    checkpoints = opened(folder)
    save(checkpoints, 1)
    checkpoints.wait()
    said = capsys.readouterr().out
    assert f"warning: checkpoint 0000-000000001.safetensors could not be written to {folder}; training goes on" in said
