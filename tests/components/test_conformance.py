"""What every component must pass."""

import subprocess
import sys

import pytest
import yaml
from google.protobuf import json_format
from kfp import components
from kfp.pipeline_spec import pipeline_spec_pb2

import kfp_bert_components as package
from tests.conftest import ROOT
from tests.support.http_folder import serving_folder

SPECS = ROOT / "component_specs"


@pytest.fixture(params=package.COMPONENTS)
def name(request):
    return request.param


def read_spec(name):
    return yaml.safe_load((SPECS / name / "component.yaml").read_text())


def test_it_can_be_imported_from_the_package(name):
    assert getattr(package, name).name == name.replace("_", "-")


def test_it_loads_by_url_as_the_same_component(name):
    with serving_folder(SPECS) as url:
        loaded = components.load_component_from_url(f"{url}/{name}/component.yaml")
    assert loaded.component_spec.inputs == getattr(package, name).component_spec.inputs
    assert loaded.component_spec.outputs == getattr(package, name).component_spec.outputs


def test_its_spec_passes_a_strict_parse(name):
    json_format.ParseDict(read_spec(name), pipeline_spec_pb2.PipelineSpec(), ignore_unknown_fields=False)


def test_every_input_and_output_has_a_description(name):
    root = read_spec(name)["root"]
    for kind in ("inputDefinitions", "outputDefinitions"):
        for group in root.get(kind, {}).values():
            for key, definition in group.items():
                assert definition.get("description", "").strip(), f"{kind} {key}"


def test_it_runs_in_our_image_and_installs_nothing(name):
    text = (SPECS / name / "component.yaml").read_text()
    executor = next(iter(read_spec(name)["deploymentSpec"]["executors"].values()))
    assert executor["container"]["image"].startswith("kfp-bert-components/python")
    assert "pip install" not in text


def test_its_metadata_names_it_and_its_tier(name):
    metadata = yaml.safe_load((SPECS / name / "metadata.yaml").read_text())
    assert metadata["name"] == name
    assert metadata["stability"] in ("alpha", "beta", "stable")
    assert metadata["tags"]


def test_the_generated_files_are_up_to_date():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "generate.py", "--check"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_the_package_imports_neither_tensorflow_nor_a_google_client():
    code = (
        "import sys, kfp_bert_components as p; [getattr(p, n) for n in p.COMPONENTS];"
        "print([m for m in sys.modules if m in ('tensorflow', 'google.cloud.aiplatform', 'transformers', 'pyarrow')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["train_and_deploy", "train_and_deploy_to_ai_platform", "train_and_deploy_to_kserve"])
def test_whether_texts_are_kept_reaches_every_step_that_shows_or_keeps_them(name):
    from kfp_bert_components import pipelines

    tasks = getattr(pipelines, name).pipeline_spec.components["comp-exit-handler-1"].dag.tasks
    given = {
        step: task.inputs.parameters["keep_texts"].component_input_parameter
        for step, task in tasks.items()
        if "keep_texts" in task.inputs.parameters
    }
    steps = ["evaluate-champion", "evaluate-model", "finetune-bert", "prepare-text-data"]
    assert given == dict.fromkeys(steps, "pipelinechannel--keep_texts")
    labels = tasks["compare-models"].inputs.parameters["allow_new_labels"]
    assert labels.component_input_parameter == "pipelinechannel--allow_new_labels"
