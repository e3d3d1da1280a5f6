"""A run that was killed goes on at its step and ends where an uninterrupted one ends."""

import json
import re
import shutil

import numpy as np
import pytest

from kfp_bert_components.registry import checkpoints_beside
from kfp_bert_components.steps.finetune_bert import finetune_bert
from kfp_bert_components.training import TrainingSettings
from tests.support.training import finish, make_base_model, make_splits, start, weights

SETTINGS = {
    "epochs": 3,
    "batch_size": 16,
    "max_length": 32,
    "learning_rate": 1e-3,
    "seeds": 2,
    "accumulation_steps": 2,
    "deterministic": True,
    "checkpoint_steps": 1,
    "metric": "loss",
    "fused": True,
}
STEPS = 18  # 96 rows in batches of 16, two batches a step, 3 epochs, 2 seeds


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: its folder and settings."""
    folder = make_splits(tmp_path_factory.mktemp("whole"))
    settings = SETTINGS | {"base_model": str(make_base_model(folder / "base"))}
    code, output = finish(start(folder, settings))
    assert code == 0, output
    return folder, settings


def _resumed(whole, tmp_path, signal_name, code, steps):
    folder, settings = make_splits(tmp_path), whole[1] | {"checkpoint_dir": str(tmp_path / "checkpoints")}
    for step in steps:
        ended, output = finish(start(folder, settings, kill=(step, signal_name)))
        assert ended == code, output
        assert not (folder / "model").exists()
    ended, output = finish(start(folder, settings))
    assert ended == 0, output
    ours, theirs = weights(folder), weights(whole[0])
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
    assert not list((tmp_path / "checkpoints").rglob("*.safetensors"))  # removed when the run is over
    assert json.loads(output.splitlines()[-1])["steps"] <= STEPS
    return output


@pytest.mark.long
def test_sigkill_at_several_steps_changes_nothing(whole, tmp_path):
    # in the first epoch, and in the second seed
    output = _resumed(whole, tmp_path, "SIGKILL", -9, [2, 11])
    # the one of the step before the kill was written for sure
    assert re.search(r"Going on from the checkpoint of seed 1 at step [12]\.", output)


@pytest.mark.long
def test_sigterm_writes_a_checkpoint_of_that_step(whole, tmp_path):
    unhurried = (whole[0], whole[1] | {"checkpoint_steps": 0, "checkpoint_minutes": 1000.0})
    output = _resumed(unhurried, tmp_path, "SIGTERM", 143, [4])
    assert "Going on from the checkpoint of seed 0 at step 5." in output  # told during step 5, which is finished


@pytest.mark.long
def test_sigterm_while_the_model_is_exported_ends_at_once_and_the_next_run_goes_on_there(tmp_path):
    folder = make_splits(tmp_path)
    settings = SETTINGS | {"epochs": 1, "seeds": 1, "checkpoint_dir": str(tmp_path / "checkpoints"), "fused": False}
    for _ in range(5):
        step = start(folder, settings)
        try:
            assert any("(best)" in line for line in step.stdout)  # what follows is the export
            step.terminate()
            if (code := step.wait(60)) != 0:  # else the signal came when it had ended
                break
        finally:
            step.kill()
            step.communicate()
        shutil.rmtree(folder / "model")
    assert code == 143
    assert not (folder / "model").exists()
    code, output = finish(start(folder, settings))
    assert code == 0 and "Going on from the checkpoint of seed 0 at step 3." in output


@pytest.mark.slow
def test_a_step_that_was_killed_goes_on_from_its_checkpoint_beside_the_registry(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ARGO_PROGRESS_FILE", str(tmp_path / "progress"))
    folder, registry = make_splits(tmp_path), str(tmp_path / "registry")
    settings = {"epochs": 2, "batch_size": 16, "layers": 1, "width": 32, "heads": 2, "vocabulary_size": 200}
    steered = {"checkpoint_steps": 2, "checkpoint_dir": checkpoints_beside(registry)}
    finish(start(folder, settings | steered, kill=(5, "SIGKILL")))
    outputs = [folder / name for name in ("train", "validation", "model", "report.html")]
    finetune_bert(*outputs, TrainingSettings(**settings), registry=registry)
    said = capsys.readouterr().out
    assert re.search("Going on from the checkpoint of seed 0 at step [24].", said)
    assert re.search(r"^Memory: about [\d.]+ GB needed, [\d.]+ GB available.$", said, re.MULTILINE)
    assert (tmp_path / "progress").read_text() == "192/192\n"
    assert not list(tmp_path.rglob("*-checkpoints/**/*.safetensors"))
