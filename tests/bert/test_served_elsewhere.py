"""The SavedModel answers the same in a bare TensorFlow 2.15, and model.onnx in ONNX Runtime 1.16."""

import json
from pathlib import Path

import numpy as np
import pytest

from kfp_bert_components.bert import load_checkpoint, read_bundle, write_bundle
from kfp_bert_components.bert.onnx_model import OnnxModel, padded
from tests.support.minilm import minilm_or_skip
from tests.support.peers import run_peer

SUPPORT = Path(__file__).parents[1] / "support"
TEXTS = ["INT. TECH NOIR - NIGHT", "I'll be back.", "", "café 한국어 中文 👩‍👩‍👧", "word " * 300, "x" * 101]


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    def write_one(pair: bool) -> Path:
        classifier = load_checkpoint(str(minilm_or_skip()), ["scene", "dialogue", "other"])
        folder = tmp_path_factory.mktemp("bundle")
        write_bundle(
            folder, classifier, max_length=128, base_model="MiniLM", parameters={}, data_fingerprint="", pair=pair
        )
        return folder

    return write_one


@pytest.mark.slow
@pytest.mark.parametrize(
    "pair", [pytest.param(False, marks=pytest.mark.long), pytest.param(True, marks=pytest.mark.peers)]
)
def test_the_saved_model_is_at_most_a_tenth_larger_than_its_weights(write, pair):
    folder = write(pair)
    size = sum(path.stat().st_size for path in (folder / "saved_model").rglob("*") if path.is_file())
    assert size <= 1.1 * (folder / "huggingface" / "model.safetensors").stat().st_size


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("pair", [False, True])
def test_tensorflow_2_15_gives_the_same(write, tmp_path, pair):
    folder = write(pair)
    inputs = {"text": TEXTS, **({"text_pair": TEXTS[::-1]} if pair else {})}
    (tmp_path / "texts.json").write_text(json.dumps(inputs))
    run_peer(
        "tensorflow 2.15",
        SUPPORT / "peer_served.py",
        folder / "saved_model",
        tmp_path / "texts.json",
        tmp_path / "out.npz",
    )
    theirs = np.load(tmp_path / "out.npz")
    assert str(theirs["version"]).startswith("2.15")
    mine = read_bundle(folder).predict(TEXTS, TEXTS[::-1] if pair else None, engine="tensorflow")
    np.testing.assert_allclose(theirs["probabilities"], mine, atol=1e-6)
    names = ["scene", "dialogue", "other"]
    assert [label.decode() for label in theirs["label"]] == [names[i] for i in mine.argmax(axis=1)]


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("pair", [False, True])
def test_onnx_runtime_1_16_gives_the_same(write, tmp_path, pair):
    model = OnnxModel(folder := write(pair))
    tokens = model.tokenize(TEXTS, TEXTS[::-1] if pair else None)
    inputs = {name: array.tolist() for name, array in padded(tokens).items()}
    (tmp_path / "inputs.json").write_text(json.dumps(inputs))
    printed = run_peer("tensorflow 2.15", SUPPORT / "peer_onnx.py", tmp_path / "inputs.json", folder / "model.onnx")
    theirs = json.loads(printed)
    assert theirs["version"].startswith("1.16")
    np.testing.assert_allclose(theirs["logits"][0], model.logits(tokens), atol=1e-5)
