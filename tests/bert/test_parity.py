"""The network gives the numbers of transformers on torch, and each reads the other's checkpoints."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kfp_bert_components.bert import checkpoint
from kfp_bert_components.bert.config import BertConfig
from kfp_bert_components.bert.encoder import ACTIVATIONS, BertClassifier
from tests.support.bert import padded
from tests.support.minilm import minilm_or_skip
from tests.support.peers import run_peer

pytestmark = [pytest.mark.peers, pytest.mark.slow]

SCRIPT = Path(__file__).parents[1] / "support" / "peer_transformers.py"
LIMIT = 1e-5
SMALL = {
    "vocab_size": 90,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 32,
}
CONFIGS = {
    **{f"act_{name}": {"hidden_act": name} for name in ACTIVATIONS},
    "eps_large": {"layer_norm_eps": 1e-3},
    "eps_usual_elsewhere": {"layer_norm_eps": 1e-5},
    "one_token_type": {"type_vocab_size": 1},
    "four_token_types": {"type_vocab_size": 4},
    "one_head": {"num_attention_heads": 1},
    "deep": {"num_hidden_layers": 7},
    "wide_range": {"initializer_range": 0.2},
    "dropout": {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.4, "classifier_dropout": 0.3},
}
# What transformers saves, and whether we find everything that a classifier needs in it.
CHECKPOINTS = {
    "plain": {"class": "BertModel"},
    "without_pooler": {"class": "BertForMaskedLM"},
    "prefixed": {"class": "BertForSequenceClassification"},
    "sharded": {"class": "BertForSequenceClassification", "shard": "8KB"},
}


def _inputs(config: BertConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Random ids with padding: four texts of up to 17 tokens."""
    random = np.random.default_rng(seed)
    lengths = np.array([17, 1, 9, 5])
    mask = (np.arange(17) < lengths[:, None]).astype(np.int32)
    return {
        "input_ids": random.integers(0, config.vocab_size, mask.shape, np.int32) * mask,
        "token_type_ids": random.integers(0, config.type_vocab_size, mask.shape, np.int32) * mask,
        "attention_mask": mask,
    }


def _assert_same(model: BertClassifier, folder: Path, parts: tuple[str, ...]) -> None:
    inputs, expected = dict(np.load(folder / "inputs.npz")), np.load(folder / "expected.npz")
    states = model.encoder.hidden_states(**inputs)
    got = {"hidden_states": np.stack(states), "pooled": model.encoder.pool(states[-1][:, 0]), "logits": model(inputs)}
    real = inputs["attention_mask"].astype(bool)  # the states of padding tokens mean nothing
    for name in parts:
        mine, theirs = np.asarray(got[name]), expected[name]
        if name == "hidden_states":
            mine, theirs = mine[:, real], theirs[:, real]
        assert np.abs(mine - theirs).max() < LIMIT, (folder.name, name)


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Path:
    """Our networks of many configs, written out and run by torch."""
    root = tmp_path_factory.mktemp("ours")
    for number, (name, change) in enumerate(CONFIGS.items()):
        config = BertConfig.from_dict({**SMALL, **change})
        config = dataclasses.replace(config, labels=("no", "Ja, schön", "maybe"))
        model = BertClassifier(config, seed=number)
        random = np.random.default_rng(number)
        for weight in model.trainable_variables:
            weight.assign_add(0.05 * random.standard_normal(weight.shape))
        folder = root / name
        folder.mkdir()
        checkpoint.save_weights(model, folder)
        np.savez(folder / "inputs.npz", **_inputs(config, number))
    run_peer("torch", SCRIPT, "run", root)
    return root


@pytest.mark.parametrize("name", CONFIGS)
def test_torch_gives_our_numbers_for_our_checkpoint(ours, name):
    folder = ours / name
    config = checkpoint.read_config(folder)
    model = BertClassifier(config, seed=99)
    assert checkpoint.load_weights(model, folder, config)
    _assert_same(model, folder, ("hidden_states", "logits"))


@pytest.mark.parametrize("name", CONFIGS)
def test_transformers_loads_our_checkpoint_whole(ours, name):
    expected = np.load(ours / name / "expected.npz")
    assert not any(json.loads(str(expected["loading"])).values())
    assert json.loads(str(expected["labels"])) == ["no", "Ja, schön", "maybe"]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory) -> Path:
    """Checkpoints that transformers saved, and what torch makes of them; one of them with names as of 2018."""
    from safetensors.numpy import load_file, save_file

    root = tmp_path_factory.mktemp("theirs")
    for name, spec in CHECKPOINTS.items():
        config = {**SMALL, "id2label": {0: "b", 1: "a"}, "label2id": {"b": 0, "a": 1}}
        (root / f"{name}.json").write_text(json.dumps({**spec, "config": config}))
    run_peer("torch", SCRIPT, "make", root)
    for name in CHECKPOINTS:
        np.savez(root / name / "inputs.npz", **_inputs(checkpoint.read_config(root / name)))
    run_peer("torch", SCRIPT, "run", root)
    old = root / "old_names"
    shutil.copytree(root / "prefixed", old)
    tensors = load_file(old / "model.safetensors")
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in tensors.items()
    }
    save_file(renamed, old / "model.safetensors")
    return root


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("plain", ("hidden_states", "pooled")),
        ("without_pooler", ("hidden_states",)),
        ("prefixed", ("hidden_states", "logits")),
        ("sharded", ("hidden_states", "logits")),
        ("old_names", ("hidden_states", "logits")),
    ],
)
def test_we_give_the_numbers_of_torch_for_a_checkpoint_of_transformers(theirs, name, parts):
    folder = theirs / name
    if name == "sharded":
        assert len(list(folder.glob("*.safetensors"))) > 2
    config = checkpoint.read_config(folder)
    model = BertClassifier(dataclasses.replace(config, labels=("b", "a")), seed=99)
    head = checkpoint.load_weights(model, folder, config)
    assert head == ("logits" in parts)
    _assert_same(model, folder, parts)


def test_minilm_has_the_hidden_states_of_torch(tmp_path):
    source = minilm_or_skip()
    folder = tmp_path / "minilm"
    shutil.copytree(source, folder)
    config = checkpoint.read_config(folder)
    np.savez(folder / "inputs.npz", **_inputs(config))
    run_peer("torch", SCRIPT, "run", tmp_path)
    model = BertClassifier(dataclasses.replace(config, labels=("a", "b")))
    checkpoint.load_weights(model, folder, config)
    _assert_same(model, folder, ("hidden_states", "pooled"))


def test_the_bundle_of_a_minilm_classifier_answers_as_torch_and_loads_whole(tmp_path):
    from kfp_bert_components.bert import load_checkpoint, read_bundle, write_bundle

    labels, texts = ["scene", "Ja, schön", "other"], ["INT. TECH NOIR - NIGHT", "I'll be back.", "", "café " * 60]
    classifier = load_checkpoint(str(minilm_or_skip()), labels)
    bundle, folder = tmp_path / "bundle", tmp_path / "torch" / "minilm"
    write_bundle(
        bundle,
        classifier,
        max_length=64,
        base_model="",
        parameters={},
        data_fingerprint="",
        pair=False,
        check_texts=texts,
    )
    shutil.copytree(bundle / "huggingface", folder)
    np.savez(folder / "inputs.npz", **padded(classifier.tokenize(texts, max_length=64)))
    run_peer("torch", SCRIPT, "run", tmp_path / "torch")
    expected = np.load(folder / "expected.npz")
    assert not any(json.loads(str(expected["loading"])).values())
    assert json.loads(str(expected["labels"])) == labels
    _assert_same(classifier.model, folder, ("hidden_states", "logits"))
    power = np.exp(expected["logits"].astype(np.float64))
    np.testing.assert_allclose(read_bundle(bundle).predict(texts), power / power.sum(axis=1, keepdims=True), atol=1e-5)
