"""The newest version is found and served, whatever else lies in its folder and whatever its folder is called."""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import pytest

from kfp_bert_components.bert import new_classifier, read_bundle, write_bundle
from kfp_bert_components.errors import UserError
from kfp_bert_components.serving.manager import ModelManager
from kfp_bert_components.serving.versions import newest_version
from tests.support.tiny_model import write_tiny_saved_model


@pytest.mark.parametrize("stranger", ["²", "lost+found", "notes.txt", ".cache", "1.tmp"])
def test_strangers_beside_versions_are_passed_over(tmp_path, stranger):
    write_tiny_saved_model(tmp_path / "1")
    shutil.copytree(tmp_path / "1", tmp_path / stranger)
    assert newest_version(tmp_path).number == 1


def test_a_folder_of_strangers_alone_is_no_model(tmp_path):
    (tmp_path / "²").mkdir()
    with pytest.raises(UserError, match="holds no model"):
        newest_version(tmp_path)


def test_a_folder_that_comes_and_goes_does_not_end_the_watching(tmp_path, monkeypatch):
    folder = tmp_path / "serving"
    write_tiny_saved_model(folder / "1")
    models = ModelManager(folder, report=lambda line: None)
    models.refresh()
    real = type(folder).iterdir
    monkeypatch.setattr(type(folder), "iterdir", lambda path: real(path / "gone"))
    models.refresh()
    assert "gone" in models.problem and models.model.version.number == 1
    monkeypatch.undo()
    shutil.copytree(folder / "1", folder / "2")
    models.refresh()
    assert models.problem == "" and models.model.version.number == 2


@pytest.mark.parametrize("name", ["models [2024]", "a\\b", "[draft", "a*b", "q?x", "{a,b}", "모델 1"])
def test_a_model_is_served_from_a_folder_of_any_name(tmp_path, name):
    folder = tmp_path / name
    write_tiny_saved_model(folder / "1")
    models = ModelManager(folder, report=lambda line: None)
    models.refresh()
    assert models.problem == ""
    assert models.model.answer([{"text": "HI"}]).labels == ["shout"]


@pytest.mark.slow
def test_a_bundle_answers_from_a_folder_with_brackets(tmp_path):
    texts, folder = ["the cat sat", "a dog ran"], tmp_path / "run [1]"
    classifier = new_classifier(
        texts, ["a", "b"], vocabulary_size=20, layers=1, width=16, heads=2, max_length=8, seed=1
    )
    write_bundle(folder, classifier, max_length=8, base_model="", parameters={}, data_fingerprint="", pair=False)
    assert read_bundle(folder).predict(texts).shape == (2, 2)


def write_one_row(folder):
    """A SavedModel that answers with one row, however many texts it is asked."""
    import tensorflow as tf

    class OneRow(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def serve(self, text):
            return {"label": tf.constant(["calm"]), "probabilities": tf.constant([[0.75, 0.25]])}

    module = OneRow()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


@pytest.mark.parametrize(
    ("write", "labels", "says"),
    [
        (partial(write_tiny_saved_model, shout_score=float("nan")), ["calm", "shout"], "no probabilities: train"),
        (write_tiny_saved_model, ["a", "b", "c"], "2 probabilities, and its bundle.json names 3 labels"),
        (write_one_row, ["calm", "shout"], "two texts with 1 labels and probabilities of the shape (1, 2)"),
    ],
)
def test_a_model_whose_answers_cannot_be_served_does_not_take_over(tmp_path, write, labels, says):
    write_tiny_saved_model(tmp_path / "1")
    models = ModelManager(tmp_path, report=lambda line: None)
    models.refresh()
    write(tmp_path / "2")
    (tmp_path / "2" / "assets.extra").mkdir()
    (tmp_path / "2" / "assets.extra" / "bundle.json").write_text(json.dumps({"labels": labels}))
    models.refresh()
    assert says in models.refused[2].reason
    assert models.model.version.number == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is not told here")
def test_the_memory_of_a_vocabulary_is_given_back_when_another_model_takes_over(tmp_path):
    def resident():
        return int(re.findall(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1000

    write_tiny_saved_model(tmp_path / "1", words=200_000)
    models, memory = ModelManager(tmp_path, report=lambda line: None), []
    for number in range(1, 7):
        if number > 1:
            shutil.copytree(tmp_path / "1", tmp_path / str(number))
        models.refresh()
        assert models.model.version.number == number
        memory.append(resident())
    assert memory[-1] - memory[1] < 40  # MB: four vocabularies that stay take more
