"""Checkpoints come in from folders, Cloud Storage and the hub; what can't be read is refused in a sentence."""

import json
import os
import re
import shutil

import ml_dtypes
import numpy as np
import pytest

from kfp_bert_components.bert import BertConfig, load_checkpoint, new_classifier
from kfp_bert_components.bert.checkpoint import save_weights
from kfp_bert_components.bert.encoder import BertClassifier
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


@pytest.fixture
def no_network_is_built(monkeypatch):
    """Fails a test in which memory for weights is taken."""

    def build(*args):
        raise AssertionError("the network is built")

    monkeypatch.setattr(BertClassifier, "build", build)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_sentence(folder, name, no_network_is_built):
    spoil, words = REFUSED[name]
    spoil(folder)
    with pytest.raises(UserError, match=words) as caught:
        load_checkpoint(str(folder), LABELS)
    assert "\n" not in str(caught.value)


IMPOSSIBLE = [0, -1, float("nan"), float("inf"), 1_000_000_000, 1.5, "many", True, [], 10**30]
SIZES = [
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
]


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value", IMPOSSIBLE, ids=str)
def test_a_size_that_no_network_can_have_is_refused_before_memory_is_taken(folder, name, value, no_network_is_built):
    _change_config(folder, **{name: value})
    with pytest.raises(
        UserError, match=rf"{folder}/config\.json can't be used: {name} is .*, but it should be"
    ) as caught:
        load_checkpoint(str(folder), LABELS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", SIZES)
def test_a_size_that_the_weights_do_not_have_is_refused_before_memory_is_taken(folder, name, no_network_is_built):
    sizes = {"num_attention_heads": 7, "num_hidden_layers": 999, "hidden_size": 90_000}
    _change_config(folder, **{name: sizes.get(name, 900_000)})
    with pytest.raises(UserError, match=r"has shape|no weight|does not divide"):
        load_checkpoint(str(folder), LABELS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_dropout_prob", 1),
        ("hidden_dropout_prob", float("nan")),
        ("attention_probs_dropout_prob", -0.1),
        ("classifier_dropout", "none"),
        ("layer_norm_eps", 0),
        ("layer_norm_eps", float("nan")),
        ("initializer_range", -0.02),
        ("pad_token_id", -1),
        ("pad_token_id", 1_000_000),
        ("hidden_act", ["gelu"]),
        ("id2label", ["a", "b"]),
        ("id2label", {"0": "a", "2": "b"}),
        ("id2label", {"first": "a"}),
    ],
)
def test_another_setting_of_the_config_that_is_impossible_is_refused(folder, name, value, no_network_is_built):
    _change_config(folder, **{name: value})
    with pytest.raises(UserError, match=rf"{folder}/config\.json can't be used: {name} is .*, but it should"):
        load_checkpoint(str(folder), LABELS)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"
WHOLE = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
SHARDED = ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def _split(folder):
    """Make two shards of the weights."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {name: SHARDED[1 + number % 2] for number, name in enumerate(sorted(tensors))}
    for file in SHARDED[1:]:
        save_file({name: tensors[name] for name in tensors if places[name] == file}, folder / file)
    (folder / SHARDED[0]).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def _spoil(folder, name, change):
    (folder / "special_tokens_map.json").write_text('{"cls_token": "[CLS]"}')
    if name in SHARDED:
        _split(folder)
    load_checkpoint(str(folder), LABELS)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(change(data))


DAMAGES = {
    "pointer": lambda data: POINTER,
    "half": lambda data: data[: len(data) // 2],
    "almost_whole": lambda data: data.rstrip(b"\n")[:-1],
    "first_bytes": lambda data: data[:5],
    "empty": lambda data: b"",
    "web_page": lambda data: b"<!DOCTYPE html>\n<html>not found</html>",
}


@pytest.mark.parametrize("name", [*WHOLE, *SHARDED])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_at_every_try(folder, name, damage):
    _spoil(folder, name, DAMAGES[damage])
    for _ in range(2):
        with pytest.raises(UserError, match=rf"{folder}/{name} ") as caught:
            load_checkpoint(str(folder), LABELS)
        assert "\n" not in str(caught.value)
        assert ("Git LFS pointer" in str(caught.value)) == (damage == "pointer")


@pytest.mark.parametrize("name", [name for name in [*WHOLE, *SHARDED] if name.endswith(".json")])
@pytest.mark.parametrize("text", ["[]", "null", "3", '"text"', "[" * 100_000])
def test_json_that_is_no_object_is_named(folder, name, text):
    _spoil(folder, name, lambda data: text.encode())
    with pytest.raises(UserError, match=rf"{folder}/{name} is not the|{folder}/{name} is not a"):
        load_checkpoint(str(folder), LABELS)


@pytest.mark.parametrize(
    "index", [{}, {"weight_map": None}, {"weight_map": []}, {"weight_map": {"a": 1}}, {"weight_map": {}}]
)
def test_an_index_without_its_map_is_named(folder, index):
    _split(folder)
    (folder / SHARDED[0]).write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"model\.safetensors\.index\.json has no weight_map"):
        load_checkpoint(str(folder), LABELS)


def test_an_index_reads_no_file_outside_of_its_folder(folder):
    _split(folder)
    (folder / SHARDED[1]).rename(folder.parent / "elsewhere.safetensors")
    index = json.loads((folder / SHARDED[0]).read_text())
    index["weight_map"] = dict.fromkeys(index["weight_map"], "../elsewhere.safetensors")
    (folder / SHARDED[0]).write_text(json.dumps(index))
    with pytest.raises(UserError, match="has no weight_map"):
        load_checkpoint(str(folder), LABELS)


def test_a_pointer_on_cloud_storage_is_named(folder, gcs):  # noqa: F811
    from kfp_bert_components.storage import open_store, upload_folder

    (folder / "model.safetensors").write_bytes(POINTER)
    upload_folder(folder, open_store("gs://bucket"), "models/pointer")
    with pytest.raises(UserError, match=r"model\.safetensors is a Git LFS pointer"):
        load_checkpoint("gs://bucket/models/pointer", LABELS)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("nowhere", path)])
def test_what_is_no_file_is_named(folder, name, make):
    (folder / name).unlink()
    make(folder / name)
    with pytest.raises(UserError, match=rf"{folder}/{name} is no file"):
        load_checkpoint(str(folder), LABELS)


def test_quantized_weights_are_refused(folder, no_network_is_built):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    name = "bert.encoder.layer.0.output.dense.weight"
    save_file(tensors | {name: tensors[name].astype(np.int8)}, folder / "model.safetensors")
    with pytest.raises(UserError, match=rf"'{name}' is of type I8"):
        load_checkpoint(str(folder), LABELS)


def test_a_config_that_asks_for_some_of_the_layers_is_said(tmp_path, capsys):
    deep = new_classifier(TEXTS * 3, LABELS, vocabulary_size=80, layers=3, width=16, max_length=20)
    save_weights(deep.model, tmp_path)
    deep.tokenizer.save_pretrained(str(tmp_path))
    _change_config(tmp_path, num_hidden_layers=2)
    assert len(load_checkpoint(str(tmp_path), LABELS).model.encoder.layers) == 2
    assert "of 3 layers config.json asks for the first 2" in capsys.readouterr().out


def _numbered(folder):
    names = {str(i): f"LABEL_{i}" for i in range(len(LABELS))}
    _change_config(folder, id2label=names, label2id={name: int(i) for i, name in names.items()})


def _without_names(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["id2label"], config["label2id"]
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("spoil", [_numbered, _without_names])
def test_a_head_with_numbers_for_labels_is_kept_in_order(classifier, folder, spoil, capsys):
    spoil(folder)
    again = load_checkpoint(str(folder), ["b", "a", "c"])
    expected = probabilities(classifier, TEXTS, max_length=12)
    np.testing.assert_array_equal(probabilities(again, TEXTS, max_length=12), expected)
    said = "the classification head is kept, its labels taken in order: LABEL_0 is 'b', LABEL_1 is 'a', LABEL_2 is 'c'"
    assert said in capsys.readouterr().out


def _with_a_head_of_no_shape(folder):
    from safetensors.numpy import load_file, save_file

    head = {"classifier.weight": np.array(1, np.float32), "classifier.bias": np.array(1, np.float32)}
    save_file(load_file(folder / "model.safetensors") | head, folder / "model.safetensors")


def _without_head(folder):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file({n: v for n, v in tensors.items() if not n.startswith("classifier")}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("spoil", "labels", "says"),
    [
        (_numbered, ["a", "b"], r"that of the checkpoint is for the 3 labels \['LABEL_0', 'LABEL_1', 'LABEL_2'\]"),
        (lambda folder: None, ["a", "b", "c"], r"that of the checkpoint is for the 3 labels \['no', 'yes', 'maybe'\]"),
        (_without_head, LABELS, "the checkpoint has none"),
        (lambda folder: _change_config(folder, id2label={"0": "no"}), LABELS, "that of the checkpoint does not fit"),
        (_with_a_head_of_no_shape, LABELS, "that of the checkpoint does not fit"),
    ],
)
def test_a_head_that_starts_fresh_is_said(folder, spoil, labels, says, capsys):
    spoil(folder)
    heads = [np.asarray(load_checkpoint(str(folder), labels, seed=seed).model.head.kernel) for seed in (1, 2)]
    assert np.abs(heads[0] - heads[1]).max() > 0
    assert re.search(f"the classification head starts fresh: {says}", capsys.readouterr().out)


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
