"""The examples of operations compile for Kubeflow Pipelines and for Vertex AI Pipelines, with the images they name."""

import re
import runpy
import sys
from functools import cache

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

import kfp_bert_components as package
from tests.conftest import ROOT
from tests.support.examples import EXAMPLES

TRAIN = ["human_approval", "tell_people", "support_messages", "on_kubernetes", "from_the_notebook"]
NAMES = ["batch_predict", "rollback", *TRAIN]
IMAGES = {f"my-registry/my-team/{name}:{package.__version__}" for name in ("python", "python-tensorflow")}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Gives the file that an example writes, once for each platform."""
    folder = tmp_path_factory.mktemp("written")

    @cache
    def write(name, platform="kubernetes"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PLATFORM", platform)
            patch.setattr(sys, "argv", [f"{name}.py", str(folder / f"{name}-{platform}.yaml")])
            runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return folder / f"{name}-{platform}.yaml"

    return write


@cache
def documents(path):
    """The pipeline in a file, and what the file says of pods, if it does."""
    return list(yaml.safe_load_all(path.read_text()))


def tasks_of(path):
    """Every task by name, at any depth."""
    spec = documents(path)[0]
    dags = [one["dag"] for one in (spec["root"], *spec["components"].values()) if "dag" in one]
    return {name: task for dag in dags for name, task in dag["tasks"].items()}


def check(spec):
    """The pipeline passes a strict parse, and its steps have the images that the example names."""
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec(), ignore_unknown_fields=False)
    assert {one["container"]["image"] for one in spec["deploymentSpec"]["executors"].values()} == IMAGES


@pytest.mark.parametrize("name", NAMES)
def test_it_compiles_for_both_places_with_its_images(tmp_path, written, name):
    check(documents(written(name))[0])
    platform = "vertex" if name == "on_kubernetes" else "kubernetes"  # the only one that differs
    package.compile(written(name, platform), tmp_path / "vertex.yaml", {"platform": "vertex"})
    (spec,) = documents(tmp_path / "vertex.yaml")
    check(spec)


@pytest.mark.parametrize("name", TRAIN)
def test_a_run_that_trains_ends_with_the_step_that_cleans_up_and_deploys_in_any_case(written, name):
    ends = documents(written(name))[0]["root"]["dag"]["tasks"]
    assert ends.keys() == {"clean-up-run", "exit-handler-1"}
    assert ends["clean-up-run"]["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    (deployed,) = (task for step, task in tasks_of(written(name)).items() if step.startswith("deploy-to"))
    assert deployed["dependentTasks"] == ["promote-model"] and "triggerPolicy" not in deployed


@pytest.mark.parametrize("name", NAMES)
def test_what_looks_at_the_world_outside_is_not_cached_and_what_trains_is(written, name):
    tasks = tasks_of(written(name))
    cached = {step for step, task in tasks.items() if task.get("cachingOptions", {}).get("enableCache")}
    trains = {"fetch-gcs-data", "prepare-text-data", "finetune-bert", "evaluate-model"}
    assert cached - {"exit-handler-1", "for-loop-1"} == (trains if name in TRAIN else set())


def test_cluster_yaml_says_the_same_as_the_library_for_pods(tmp_path, written):
    text = (EXAMPLES / "on_kubernetes.py").read_text()
    cluster = yaml.safe_load(re.search(r"\n    all:\n(?:    .*\n)+", text)[0])
    package.compile(written("on_kubernetes"), tmp_path / "library.yaml")
    package.compile(written("on_kubernetes", "vertex"), tmp_path / "file.yaml", cluster)
    spec, pods = documents(tmp_path / "file.yaml")
    assert documents(tmp_path / "library.yaml") == [spec, pods]
    executors = pods["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert len(executors) == 10 and executors["exec-finetune-bert"]["nodeSelector"]["labels"]


def test_the_approval_stands_between_gate_and_promotion(written):
    tasks = tasks_of(written("human_approval"))
    asked = tasks["wait-for-approval"]["inputs"]["artifacts"]["decision"]["taskOutputArtifact"]
    promoted = tasks["promote-model"]["inputs"]["artifacts"]["decision"]["taskOutputArtifact"]
    assert asked == {"outputArtifactKey": "decision", "producerTask": "compare-models"}
    assert promoted == {"outputArtifactKey": "answered", "producerTask": "wait-for-approval"}
    assert tasks["wait-for-approval"]["retryPolicy"]["maxRetryCount"] == 3


def test_the_command_in_the_example_gives_the_exit_handler_the_secret_with_the_address(tmp_path, written):
    setting = re.search(r"--set light\.secrets='(.*)'", (EXAMPLES / "tell_people.py").read_text())[1]
    package.compile(written("tell_people"), tmp_path / "placed.yaml", {"light": {"secrets": yaml.safe_load(setting)}})
    _, pods = documents(tmp_path / "placed.yaml")
    told = pods["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-clean-up-run"]["secretAsEnv"]
    assert [(one["secretName"], one["keyToEnv"]) for one in told] == [
        ("chat", [{"envVar": "KFP_BERT_WEBHOOK", "secretKey": "webhook"}])
    ]


def test_the_page_about_the_notebook_names_what_the_example_has():
    page = (ROOT / "docs" / "from-the-notebook.md").read_text()
    example = (EXAMPLES / "from_the_notebook.py").read_text()
    ours = {name for name in package.COMPONENTS if f"{name}(" in example} - {"clean_up_run"}
    assert ours and all(f"`{name}`" in page for name in ours)
    for old in (
        "ACC_CSV_GCS_URI",
        "AIPJOB_TRAINER_GCS_PATH",
        "MIN_ACC_PROGRESS",
        "TRAIN_ON_CLOUD",
        "check_and_deploy_op",
    ):
        assert old in page and old in example
