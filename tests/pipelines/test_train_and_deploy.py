"""The main pipeline from the package, and the example that has only component specs by URL."""

import subprocess
import sys

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler
from kfp.pipeline_spec import pipeline_spec_pb2

from kfp_bert_components.pipelines import train_and_deploy, train_and_deploy_to_ai_platform
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.reference import read_reference
from tests.conftest import ROOT
from tests.support.http_folder import serving_folder
from tests.support.pipeline_runs import run_pipeline, small_data

SETTINGS = {"epochs": 2, "max_length": 32}


def strict_parse(path):
    return json_format.ParseDict(
        yaml.safe_load(path.read_text()), pipeline_spec_pb2.PipelineSpec(), ignore_unknown_fields=False
    )


@pytest.mark.parametrize("pipeline", [train_and_deploy, train_and_deploy_to_ai_platform])
def test_its_ir_passes_a_strict_parse_and_every_parameter_is_described(tmp_path, pipeline):
    compiler.Compiler().compile(pipeline, str(tmp_path / "pipeline.yaml"))
    spec = strict_parse(tmp_path / "pipeline.yaml")
    for name, parameter in spec.root.input_definitions.parameters.items():
        assert parameter.description, name


@pytest.mark.slow
def test_the_example_composed_from_urls_runs_to_a_served_model(tmp_path):
    data = small_data(tmp_path)
    with serving_folder(ROOT / "component_specs") as url:
        subprocess.run(
            [sys.executable, ROOT / "examples" / "train_and_deploy.py", tmp_path / "pipeline.yaml"],
            check=True,
            env={"COMPONENT_SPECS": url, "PATH": "/usr/bin:/bin"},
        )
    strict_parse(tmp_path / "pipeline.yaml")
    registry, serving = tmp_path / "registry", tmp_path / "serving"
    places = {"sources": data, "registry": registry, "serving_directory": serving}
    outputs = run_pipeline(str(tmp_path / "pipeline.yaml"), tmp_path, **places)
    assert outputs["compare-models"]["outcome"] == "PROMOTE", outputs["compare-models"]["reason"]
    assert Registry(str(registry)).champion().version == 1
    assert (serving / "1" / "saved_model.pb").exists()
    _, compared_with = read_reference(str(registry))
    assert compared_with == f"champion 1 of {registry}"
    # On unchanged data the next run trains nothing, and says so.
    again = run_pipeline(str(tmp_path / "pipeline.yaml"), tmp_path, **places)
    (first, second) = sorted((tmp_path / "runs").glob("my-text-classifier-*"))
    log = (second / "log.txt").read_text()
    for step in ("fetch-gcs-data", "prepare-text-data", "finetune-bert", "evaluate-model"):
        assert f"{step} used again" in log and f"{step} started" not in log
    assert f"data unchanged since version 1: the trained model of run {first.name} is used again" in log
    assert not again["pin-data"]["changed"]
    assert again["compare-models"]["outcome"] == "REJECT"
    assert again["deploy-to-serving-directory"]["version"] == 1
