"""Checkpoints come in from folders, Cloud Storage and the hub; what can't be read is refused in a sentence."""

import json
import shutil

import ml_dtypes
import numpy as np
import pytest

from kfp_bert_components.bert import BertConfig, load_checkpoint, new_classifier
from kfp_bert_components.bert.checkpoint import save_weights
from kfp_bert_components.errors import UserError
from tests.support.bert import probabilities
from tests.support.stores import gcs  # noqa: F401  (a fixture)

TEXTS = ["the cat sat on the mat", "a dog barks at the cat", "Fin."]
LABELS = ["no", "yes", "maybe"]


@pytest.fixture(scope="module")
def classifier():
    return new_classifier(TEXTS * 3, LABELS, vocabulary_size=80, layers=1, width=16, max_length=20, seed=5)


@pytest.fixture(scope="module")
def saved(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save_weights(classifier.model, folder)
    classifier.tokenizer.save_pretrained(str(folder))
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoint")


def test_a_folder_gives_back_the_classifier(classifier, saved):
    again = load_checkpoint(str(saved), LABELS, seed=6)
    expected = probabilities(classifier, TEXTS, max_length=12)
    np.testing.assert_array_equal(probabilities(again, TEXTS, max_length=12), expected)


def test_a_folder_on_cloud_storage_gives_the_same(classifier, saved, gcs):  # noqa: F811
    from kfp_bert_components.storage import open_store, upload_folder

    upload_folder(saved, open_store("gs://bucket"), "models/small")
    again = load_checkpoint("gs://bucket/models/small", LABELS)
    expected = probabilities(classifier, TEXTS, max_length=12)
    np.testing.assert_array_equal(probabilities(again, TEXTS, max_length=12), expected)
    with pytest.raises(UserError, match="gs://bucket/models/none"):
        load_checkpoint("gs://bucket/models/none", LABELS)


def test_the_head_follows_its_labels_into_another_order(classifier, saved):
    again = load_checkpoint(str(saved), ["maybe", "no", "yes"])
    expected = probabilities(classifier, TEXTS, max_length=12)[:, [2, 0, 1]]
    np.testing.assert_allclose(probabilities(again, TEXTS, max_length=12), expected, atol=1e-6)


def test_other_labels_get_a_fresh_head_that_depends_on_the_seed_alone(saved):
    heads = [np.asarray(load_checkpoint(str(saved), ["a", "b"], seed=seed).model.head.kernel) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(heads[0], heads[1])
    assert np.abs(heads[0] - heads[2]).max() > 0


def test_dropouts_come_from_the_config_unless_given(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2, "classifier_dropout": 0.4}
    (folder / "config.json").write_text(json.dumps(config))

    def rates(**given):
        model = load_checkpoint(str(folder), LABELS, **given).model
        layer = model.encoder.layers[0]
        return layer.dropout.rate, layer.attention.dropout.rate, model.dropout.rate

    assert rates() == (0.3, 0.2, 0.4)
    assert rates(hidden_dropout=0.0, attention_dropout=0.1, classifier_dropout=0.5) == (0.0, 0.1, 0.5)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_weights_are_read(classifier, folder, dtype):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file({name: value.astype(dtype) for name, value in tensors.items()}, folder / "model.safetensors")
    expected = probabilities(classifier, TEXTS, max_length=12)
    got = probabilities(load_checkpoint(str(folder), LABELS), TEXTS, max_length=12)
    np.testing.assert_allclose(got, expected, atol=1e-2)


def _without_prefix(tensors):
    return {name.removeprefix("bert."): value for name, value in tensors.items()}


def _with_old_names(tensors):
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    return {
        next((name.replace(new, then) for new, then in old.items() if name.endswith(new)), name): value
        for name, value in tensors.items()
    }


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("rename", [dict, _without_prefix, _with_old_names])
def test_shards_and_other_names_of_weights_give_the_same(classifier, folder, rename, shards):
    from safetensors.numpy import load_file, save_file

    tensors = rename(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {f"model-{i + 1:05}-of-{shards:05}.safetensors": names[i::shards] for i in range(shards)}
    for file, held in files.items():
        save_file({name: tensors[name] for name in held}, folder / file)
    index = {"weight_map": {name: file for file, held in files.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    expected = probabilities(classifier, TEXTS, max_length=12)
    got = probabilities(load_checkpoint(str(folder), LABELS), TEXTS, max_length=12)
    np.testing.assert_array_equal(got, expected)


def _change_config(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def _pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _shard_missing(folder):
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _weight_missing(folder):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["bert.encoder.layer.0.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors")


REFUSED = {
    "another architecture": (lambda f: _change_config(f, model_type="roberta"), "'roberta' model"),
    "a decoder": (lambda f: _change_config(f, is_decoder=True), "is_decoder"),
    "relative positions": (lambda f: _change_config(f, position_embedding_type="relative_key"), "relative_key"),
    "an unknown activation": (lambda f: _change_config(f, hidden_act="laplace"), "'laplace'"),
    "another shape": (lambda f: _change_config(f, intermediate_size=48), "shape"),
    "heads that do not divide": (lambda f: _change_config(f, num_attention_heads=3), "does not divide"),
    "a config that is no JSON": (lambda f: (f / "config.json").write_text("{"), "config of a BERT"),
    "no config": (lambda f: (f / "config.json").unlink(), "no config.json"),
    "pickled weights": (_pickled, "safe_serialization=True"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors"),
    "half a file": (lambda f: (f / "model.safetensors").write_bytes(b"\x00" * 99), "download it again"),
    "a missing shard": (_shard_missing, "model-00001-of-00002"),
    "a missing weight": (_weight_missing, r"encoder\.layer\.0\.output\.dense\.weight"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json"),
    "a small vocabulary": (lambda f: _change_config(f, vocab_size=10), "belong together"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_sentence(folder, name):
    spoil, words = REFUSED[name]
    spoil(folder)
    with pytest.raises(UserError, match=words) as caught:
        load_checkpoint(str(folder), LABELS)
    assert "\n" not in str(caught.value)


def test_a_hub_that_cannot_be_reached_is_told_apart_from_a_folder():
    with pytest.raises(UserError, match="Hugging Face hub"):
        load_checkpoint("nobody/no-such-model", LABELS)
    with pytest.raises(UserError, match="is no folder"):
        load_checkpoint("./no/such/folder", LABELS)


def test_two_equal_labels_are_refused(saved):
    with pytest.raises(UserError, match="all different"):
        load_checkpoint(str(saved), ["a", "a"])


def test_the_config_keeps_what_it_does_not_know():
    values = BertConfig.from_dict({"hidden_size": 24, "gradient_checkpointing": False, "use_cache": True}).to_dict()
    assert values["gradient_checkpointing"] is False
    assert values["hidden_size"] == 24
