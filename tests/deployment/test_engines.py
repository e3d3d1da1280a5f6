"""A served version holds what each engine needs, and no engine serves what was not shown for it."""

import json
from pathlib import Path

import numpy as np
import pytest

from kfp_bert_components.ai_platform import AiPlatformSettings, deploy_to_ai_platform
from kfp_bert_components.bert import new_classifier, read_bundle, write_bundle
from kfp_bert_components.bert.bundle import served_files
from kfp_bert_components.bert.onnx_model import OnnxModel
from kfp_bert_components.deployment import deploy_to_serving_directory
from kfp_bert_components.deployment.engines import check_engines
from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation import Evaluation, write_evaluation
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.deploy_to_serving_directory import deploy_to_serving_directory as deploy_tested
from tests.support.ai_platform_server import AiPlatformServer
from tests.support.models import write_candidate
from tests.support.stores import gcs

__all__ = ["gcs"]

TEXTS = ["HELLO", "hello", "FADE IN", "She opens the door."]
FLOAT32, MOVED = {"precision": "float32", "largest_change": 1e-7}, {"precision": "int8", "largest_change": 2e-3}


@pytest.fixture(scope="module")
def classifier():
    return new_classifier(TEXTS * 3, ["ham", "spam"], vocabulary_size=60, layers=1, width=16, max_length=16)


def promote(registry: Registry, folder: Path, classifier, precision: str = "float32") -> None:
    """Make a real model champion, with a real evaluation of it."""
    import pyarrow as pa

    bundle, evaluation, decision = write_candidate(folder, files=0)
    (bundle / "saved_model").rmdir()
    settings = {"base_model": "", "parameters": {}, "data_fingerprint": "", "pair": False, "max_length": 16}
    write_bundle(bundle, classifier, precision=precision, check_texts=TEXTS, **settings)
    opened = read_bundle(bundle)
    answers = opened.predict(TEXTS)
    columns = {"id": TEXTS, "text": TEXTS, "label": ["ham"] * len(TEXTS)}
    table = pa.table({**columns, "probabilities": pa.array(answers.tolist(), pa.list_(pa.float32()))})
    known = json.loads((evaluation / "evaluation.json").read_text())
    record = Evaluation(
        opened.labels,
        known["test_fingerprint"],
        opened.fingerprint,
        metrics=known["metrics"],
        engine=opened.engine,
        precision=precision,
        predictions=table,
    )
    write_evaluation(record, evaluation)
    verdict = json.loads((decision / "decision.json").read_text())
    (decision / "decision.json").write_text(json.dumps(verdict | {"candidate_fingerprint": opened.fingerprint}))
    registry.promote(bundle, evaluation, decision)


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_served_version_holds_what_each_engine_needs_once(tmp_path, classifier):
    import tensorflow as tf

    registry, folder = Registry(str(tmp_path / "registry")), tmp_path / "serving"
    promote(registry, tmp_path / "candidate", classifier)
    deploy_tested(registry.uri, str(folder))  # asks it before it is visible
    assert files_of(folder / "1") - {"fingerprint.pb"} == {
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
        "assets.extra/bundle.json",
        "model.onnx",
        "huggingface/model.safetensors",
        "huggingface/tokenizer.json",
    }
    model = OnnxModel(folder / "1")
    assert (model.labels, model.precision, model.metadata["registry_version"]) == (["ham", "spam"], "float32", 1)
    serve = tf.saved_model.load(str(folder / "1")).signatures["serving_default"]
    theirs = serve(text=tf.constant(TEXTS))["probabilities"].numpy()
    np.testing.assert_allclose(model.predict(TEXTS), theirs, atol=1e-6)


@pytest.mark.parametrize("name", ["model.onnx", "huggingface/model.safetensors", "huggingface/tokenizer.json"])
def test_a_served_version_that_lacks_a_file_is_repaired(tmp_path, classifier, name):
    registry, folder = Registry(str(tmp_path / "registry")), tmp_path / "serving"
    promote(registry, tmp_path / "candidate", classifier)
    deploy_to_serving_directory(registry.uri, str(folder))
    assert deploy_to_serving_directory(registry.uri, str(folder)).serving_uri == f"{folder}/1"  # nothing to do
    (folder / "1" / name).unlink()
    assert deploy_to_serving_directory(registry.uri, str(folder)).serving_uri == f"{folder}/2"
    assert (folder / "2" / name).is_file()


def test_a_bundle_without_model_onnx_is_served_as_its_saved_model():
    names = ["bundle.json", "huggingface/model.safetensors", "huggingface/tokenizer.json", "saved_model/saved_model.pb"]
    assert served_files(names) == {"saved_model/saved_model.pb": "saved_model.pb"}


def stored(folder: Path, engines: dict, evaluated: str, uri: str = "") -> Registry:
    """A registry whose version 1 can be served with these engines and was evaluated with one of them."""
    bundle, evaluation, decision = write_candidate(folder / "candidate")
    for path, fields in ((bundle / "bundle.json", {"format": 2, "engines": engines, "precision": "int8"}),):
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    known = json.loads((evaluation / "evaluation.json").read_text())
    fields = known | {"format": 4, "engine": evaluated, "precision": engines[evaluated]["precision"]}
    (evaluation / "evaluation.json").write_text(json.dumps(fields))
    registry = Registry(uri or str(folder / "registry"))
    registry.promote(bundle, evaluation, decision)
    return registry


@pytest.mark.parametrize("evaluated", ["onnxruntime", "tensorflow"])
def test_engines_that_were_shown_to_be_the_same_stand_for_each_other(tmp_path, evaluated):
    registry = stored(tmp_path, {"tensorflow": FLOAT32, "onnxruntime": FLOAT32}, evaluated)
    check_engines(registry, 1)
    check_engines(registry, 1, "tensorflow")


@pytest.mark.parametrize(("evaluated", "other"), [("onnxruntime", "tensorflow"), ("tensorflow", "onnxruntime")])
def test_an_engine_that_was_not_shown_to_be_the_same_is_refused(tmp_path, evaluated, other):
    registry = stored(tmp_path, {"tensorflow": FLOAT32, "onnxruntime": MOVED}, evaluated)
    check_engines(registry, 1, evaluated)
    with pytest.raises(UserError, match=f"evaluated with the engine {evaluated}, and {other} was not shown .* 2.0e-03"):
        check_engines(registry, 1, other)
    with pytest.raises(UserError, match="Version 1 can't be deployed here"):
        deploy_to_serving_directory(registry.uri, str(tmp_path / "serving"))
    assert not (tmp_path / "serving" / "1").exists()


def test_an_engine_that_the_bundle_holds_nothing_for_is_refused(tmp_path):
    registry = stored(tmp_path, {"onnxruntime": MOVED}, "onnxruntime")
    check_engines(registry, 1)
    with pytest.raises(UserError, match="exported in int8, and holds nothing for the engine tensorflow"):
        check_engines(registry, 1, "tensorflow")


def test_a_version_in_int8_is_served_by_onnx_runtime_and_tensorflow_refuses_it(tmp_path, classifier):
    import tensorflow as tf

    registry, folder = Registry(str(tmp_path / "registry")), tmp_path / "serving"
    promote(registry, tmp_path / "candidate", classifier, "int8")
    deploy_tested(registry.uri, str(folder))
    assert files_of(folder / "1") == {
        "saved_model.pb",
        "assets.extra/bundle.json",
        "model.onnx",
        "model.onnx.data",
        "huggingface/tokenizer.json",
    }
    answers = OnnxModel(folder / "1").predict(TEXTS)
    np.testing.assert_allclose(answers, read_bundle(tmp_path / "candidate" / "bundle").predict(TEXTS), atol=1e-6)
    with pytest.raises(RuntimeError, match="could not be found in SavedModel"):
        tf.saved_model.load(str(folder / "1"), tags=["serve"])  # as TensorFlow Serving does
    assert deploy_to_serving_directory(registry.uri, str(folder)).serving_uri == f"{folder}/1"  # nothing to do


def test_a_version_in_bfloat16_is_a_saved_model_alone(tmp_path, classifier):
    registry, folder = Registry(str(tmp_path / "registry")), tmp_path / "serving"
    promote(registry, tmp_path / "candidate", classifier, "bfloat16")
    deploy_to_serving_directory(registry.uri, str(folder))
    assert not {"model.onnx", "huggingface/tokenizer.json"} & files_of(folder / "1")


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("image", ["", "eu-docker.pkg.dev/p/others/server:1"])
def test_a_container_that_takes_the_saved_model_gets_no_version_that_tensorflow_was_not_shown_for(
    gcs, tmp_path, image, dry_run
):
    registry = stored(tmp_path, {"onnxruntime": MOVED}, "onnxruntime", "gs://bucket/registry")
    settings = AiPlatformSettings("p", "region-1", image=image, drain_seconds=0)
    with AiPlatformServer() as server:
        with pytest.raises(UserError, match="exported in int8, and holds nothing for the engine tensorflow"):
            deploy_to_ai_platform(registry.uri, settings, api_endpoint=server.url, poll_seconds=0.01, dry_run=dry_run)
        assert server.changing_calls() == []
