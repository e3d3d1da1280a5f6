"""model.onnx answers as the network, whatever its shape, and its tokenizer gives the ids of transformers'."""

from pathlib import Path

import numpy as np
import pytest

from kfp_bert_components.bert import new_classifier, read_bundle, write_bundle
from kfp_bert_components.bert.onnx_model import OnnxModel, has_onnx
from kfp_bert_components.errors import UserError
from tests.support.bert import probabilities

TEXTS = ["the cat sat on the mat", "a dog barks at the cat", "Fin.", "", "cat " * 60, "café [SEP] 한국어"]


@pytest.fixture(scope="module")
def classifier():
    return new_classifier(TEXTS * 3, ["no", "yes"], vocabulary_size=80, layers=2, width=32, max_length=40)


def write(folder: Path, classifier, **changes) -> Path:
    settings = {"max_length": 24, "pair": False, "check_texts": TEXTS, **changes}
    write_bundle(folder, classifier, base_model="", parameters={}, data_fingerprint="", **settings)
    return folder


@pytest.fixture(scope="module")
def bundle(classifier, tmp_path_factory):
    return write(tmp_path_factory.mktemp("bundle"), classifier)


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_it_answers_as_the_network(classifier, bundle, batch_size):
    model = OnnxModel(bundle, threads=1, spinning=False)
    assert (model.labels, model.pair, model.max_length, model.precision) == (["no", "yes"], False, 24, "float32")
    expected = probabilities(classifier, TEXTS, max_length=24)
    np.testing.assert_allclose(model.predict(TEXTS, batch_size=batch_size), expected, atol=1e-6)
    np.testing.assert_allclose(model.probabilities(model.tokenize(TEXTS)), expected, atol=1e-6)


def test_the_bundle_answers_by_each_engine(classifier, bundle):
    opened = read_bundle(bundle)
    assert opened.engine == "onnxruntime" and has_onnx(bundle)
    expected = probabilities(classifier, TEXTS, max_length=24)
    for engine in ("", "onnxruntime", "tensorflow"):
        np.testing.assert_allclose(opened.predict(TEXTS, engine=engine), expected, atol=1e-6)
    with pytest.raises(UserError, match="nothing for the engine 'torch': choose tensorflow or onnxruntime"):
        opened.predict(TEXTS, engine="torch")
