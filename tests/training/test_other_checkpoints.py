"""A checkpoint of another run is not gone on from."""

import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tests.support.training import finish, make_base_model, make_splits, start


def _run(folder):
    """Splits and settings of a run that writes a checkpoint after each step."""
    settings = {"epochs": 1, "batch_size": 16, "max_length": 32, "checkpoint_steps": 1}
    places = {"base_model": str(make_base_model(folder / "base")), "checkpoint_dir": str(folder / "checkpoints")}
    return make_splits(folder), settings | places


@pytest.mark.long
def test_a_checkpoint_of_another_base_model_at_the_same_address_is_not_gone_on_from(tmp_path):
    folder, settings = _run(tmp_path)
    base = tmp_path / "base"
    finish(start(folder, settings, kill=(4, "SIGKILL")))
    arrays = load_file(base / "model.safetensors")
    save_file({name: value + 0.01 for name, value in arrays.items()}, base / "model.safetensors", {"format": "pt"})
    ended, output = finish(start(folder, settings))
    assert ended == 0 and "Going on" not in output, output


@pytest.mark.long
def test_a_checkpoint_of_other_weights_is_refused_in_a_sentence(tmp_path):
    folder, settings = _run(tmp_path)
    finish(start(folder, settings, kill=(3, "SIGKILL")))
    path = max((tmp_path / "checkpoints").rglob("*.safetensors"))
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    arrays = load_file(path)
    del arrays[f"others/{sum(name.startswith('others/') for name in arrays) - 1}"]
    save_file(arrays, path, metadata=metadata)
    ended, output = finish(start(folder, settings))
    assert ended == 1
    assert "checkpoint of this run holds other weights than this version of the package trains; remove it" in output
    assert path.exists()
