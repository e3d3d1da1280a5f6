"""Compiled code answers single texts as the SavedModel does, and is made only where that holds."""

import time

import numpy as np
import pytest

from kfp_bert_components.bert import new_classifier, read_bundle, write_bundle
from kfp_bert_components.serving import compiled
from kfp_bert_components.serving.manager import ModelManager
from kfp_bert_components.serving.model import Model
from kfp_bert_components.serving.versions import ModelVersion
from tests.support.tiny_model import write_tiny_saved_model

TEXTS = ["the cat " * n for n in range(14)] + ["", "café 한국어", "x" * 101]


@pytest.fixture(
    scope="module",
    params=[pytest.param(False, id="single"), pytest.param(True, id="pair", marks=pytest.mark.long)],
)
def bundle(request, tmp_path_factory):
    classifier = new_classifier(TEXTS, ["no", "yes"], vocabulary_size=60, layers=2, width=32, max_length=40)
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(
        folder, classifier, max_length=24, base_model="", parameters={}, data_fingerprint="", pair=request.param
    )
    return read_bundle(folder)


@pytest.mark.slow
def test_single_texts_are_answered_the_same_by_compiled_code(bundle):
    model = Model(ModelVersion(bundle.folder / "saved_model", 1))
    pairs = TEXTS[::-1] if bundle.metadata["pair"] else None
    columns = [TEXTS, pairs] if pairs else [TEXTS]
    instances = [dict(zip(model.inputs, texts, strict=True)) for texts in zip(*columns, strict=True)]
    before = [model.answer([instance]).predictions()[0] for instance in instances]
    assert list(model.compile()) == [4, 8, 12, 16, 24]
    after = [model.answer([instance]).predictions()[0] for instance in instances]
    assert [answer["label"] for answer in after] == [answer["label"] for answer in before]
    for answers in (before, after):
        got = [answer["probabilities"] for answer in answers]
        np.testing.assert_allclose(got, bundle.predict(TEXTS, pairs), atol=1e-6)


def test_code_that_answers_otherwise_is_not_used(bundle, monkeypatch):
    monkeypatch.setattr(compiled, "MOST_DIFFERENCE", -1.0)
    model = Model(ModelVersion(bundle.folder / "saved_model", 1))
    assert list(model.compile()) == []
    assert not model.compiled.ready


def test_it_compiles_once_the_model_answers(bundle):
    lines = []
    models = ModelManager(bundle.folder / "saved_model", report=lines.append, compiled=True)
    models.refresh()
    assert lines[0].startswith("serving version 1")
    end = time.monotonic() + 300
    while len(lines) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert models.model.compiled.ready
    assert lines[1].startswith("compiled for single texts of up to 24 tokens")


def test_a_foreign_saved_model_is_served_as_it_is(tmp_path):
    lines = []
    models = ModelManager(write_tiny_saved_model(tmp_path / "tiny"), report=lines.append, compiled=True)
    models.refresh()
    assert models.model.answer([{"text": "HI"}]).labels == ["shout"]
    assert len(lines) == 1
