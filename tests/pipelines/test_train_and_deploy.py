"""The main pipeline from the package, and the example that has only component specs by URL."""

import json
import subprocess
import sys

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler, dsl
from kfp.pipeline_spec import pipeline_spec_pb2

from kfp_bert_components.origin import read_origin
from kfp_bert_components.pipelines import train_and_deploy, train_and_deploy_to_ai_platform, train_and_deploy_to_kserve
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


@pytest.mark.parametrize("pipeline", [train_and_deploy, train_and_deploy_to_ai_platform, train_and_deploy_to_kserve])
def test_its_ir_passes_a_strict_parse_and_every_parameter_is_described(tmp_path, pipeline):
    compiler.Compiler().compile(pipeline, str(tmp_path / "pipeline.yaml"))
    spec = strict_parse(tmp_path / "pipeline.yaml")
    for name, parameter in spec.root.input_definitions.parameters.items():
        assert parameter.description, name


@pytest.mark.parametrize("pipeline", [train_and_deploy, train_and_deploy_to_ai_platform, train_and_deploy_to_kserve])
def test_the_run_is_named_only_to_steps_that_are_never_cached(tmp_path, pipeline):
    compiler.Compiler().compile(pipeline, str(tmp_path / "pipeline.yaml"))
    spec = strict_parse(tmp_path / "pipeline.yaml")
    tasks = dict(spec.root.dag.tasks)
    for component in spec.components.values():
        tasks.update(component.dag.tasks)
    named = {
        name: task.inputs.parameters["run_id"].runtime_value.constant.string_value
        for name, task in tasks.items()
        if "run_id" in task.inputs.parameters
    }
    assert set(named.values()) == {dsl.PIPELINE_JOB_ID_PLACEHOLDER}
    assert {"compare-models", "promote-model"} < named.keys() and any(name.startswith("deploy-to-") for name in named)
    cached = [task for task in tasks.values() if task.caching_options.enable_cache]
    assert cached and not any("pipeline_job" in str(task.inputs) for task in cached)


@pytest.mark.docs
def test_the_example_composed_from_urls_runs_to_a_served_model(tmp_path):
    data = small_data(tmp_path)
    with serving_folder(ROOT / "component_specs") as url:
        subprocess.run(
            [sys.executable, ROOT / "examples" / "train_and_deploy_by_url.py", tmp_path / "pipeline.yaml"],
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
    _knows_its_run(Registry(str(registry)).version(1), outputs["finetune-bert"])
    # On unchanged data the next run trains nothing, and says so.
    again = run_pipeline(str(tmp_path / "pipeline.yaml"), tmp_path, **places)
    (first, second) = sorted((tmp_path / "runs").glob("my-text-classifier-*"))
    log = (second / "log.txt").read_text()
    for step in ("fetch-gcs-data", "prepare-text-data", "finetune-bert", "evaluate-model"):
        assert f"{step} used again" in log and f"{step} started" not in log
    assert f"data unchanged since version 1 (data first seen by run {first.name}): " in log
    assert not again["pin-data"]["changed"]
    assert again["compare-models"]["outcome"] == "REJECT"
    assert again["deploy-to-serving-directory"]["version"] == 1


def _knows_its_run(version, trained):
    """The version names the folder of the run, and the run's page would show what there is to see of the model."""
    run = trained["model"].parents[1]
    origin = read_origin(version.origin)
    assert origin.folder == str(run) and origin.artifacts["model"] == {"uri": str(trained["model"]), "folder": str(run)}
    assert version.data["files"] == 1 and version.data["fingerprint"]
    metrics = json.loads(trained["metrics"].read_text())
    written = json.loads((run / "finetune-bert" / "executor_output.json").read_text())["artifacts"]
    assert written["metrics"]["artifacts"][0]["metadata"] == metrics
    model = written["model"]["artifacts"][0]["metadata"]
    assert (model["framework"], model["engines"]) == ("TensorFlow", "onnxruntime, tensorflow")
    assert model["base_model"] == "none, trained from scratch" and model["parameters"]["epochs"] > 0
    assert model["fingerprint"] == version.bundle_fingerprint and model["validation_macro_f1"] > 0
    written = json.loads((run / "evaluate-model" / "executor_output.json").read_text())["artifacts"]
    evaluation = written["evaluation"]["artifacts"][0]["metadata"]
    assert evaluation["rows"] > 0 and evaluation["macro_f1"] == version.metrics["macro_f1"]["value"]
    assert json.loads((run / "evaluate-model" / "metrics").read_text())["macro_f1"] == evaluation["macro_f1"]
    nobody = json.loads((run / "evaluate-champion" / "executor_output.json").read_text())["artifacts"]
    assert nobody["evaluation"]["artifacts"][0]["metadata"]["empty"]
