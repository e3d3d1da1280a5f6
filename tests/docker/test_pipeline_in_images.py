"""Every component's YAML in the image that it names, as a strict cluster runs it, through kfp.local's DockerRunner."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from kfp import compiler, components, dsl, local

import kfp_bert_components as package
from kfp_bert_components.addresses import IMAGES
from kfp_bert_components.bert import read_bundle
from kfp_bert_components.gate import read_decision
from kfp_bert_components.local.results import read_outputs
from kfp_bert_components.pipelines import train_and_deploy
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import open_store
from tests.conftest import ROOT
from tests.support.ai_platform_server import AiPlatformServer
from tests.support.containers import FirstLines, ask, confined_runner, free_port, serve_image, wait_until_ready
from tests.support.examined import write_examined
from tests.support.http_folder import serving_folder
from tests.support.kubernetes_predictors import Model
from tests.support.kubernetes_server import KubernetesServer
from tests.support.models import candidate_for, promote_next
from tests.support.pipeline_runs import small_data
from tests.support.s3_server import KEYS
from tests.support.stores import gcs, s3

__all__ = ["gcs", "s3"]
pytestmark = [
    pytest.mark.docker,
    # The Docker client's own sockets, closed by the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
TEXTS = ["INT. KITCHEN - NIGHT", "She opens the door."]


@pytest.fixture(scope="module")
def first_lines(request):
    """Seconds from a container's start to its first line of work, by component; printed at the end."""
    with FirstLines() as found:
        yield found.seconds
    terminal = request.config.get_terminal_writer()
    terminal.line("\nseconds from a container's start to its first line of work:")
    for name, seconds in sorted(found.seconds.items()):
        terminal.line(f"  {name:28} {seconds:5.1f}")


@pytest.fixture
def root(tmp_path):
    """A folder that the containers, which have another user than the tests, can write to, with what is made in it.

    The runner mounts the pipeline root, and that alone, so everything that a step looks at lies under it.
    """
    before = os.umask(0)
    (tmp_path / "root").mkdir()
    yield tmp_path / "root"
    os.umask(before)


def run_confined(pipeline, root, environment=None, **arguments):
    """Run a compiled pipeline in containers; gives the outputs of the steps that did not come from the cache."""
    local.init(confined_runner(**environment or {}), pipeline_root=str(root), enable_caching=True)
    loaded = components.load_component_from_file(str(pipeline))
    loaded(**arguments)
    newest = max(root.glob(f"{loaded.name}-*"), key=os.path.getmtime)
    return read_outputs(newest)


def test_specs_by_url_run_confined_in_their_images_to_a_served_model(first_lines, root, tmp_path):
    data = small_data(root)
    with serving_folder(ROOT / "component_specs") as url:
        example = [sys.executable, ROOT / "examples" / "train_and_deploy_by_url.py", tmp_path / "pipeline.yaml"]
        subprocess.run(example, check=True, env={**os.environ, "COMPONENT_SPECS": url})
    text = (tmp_path / "pipeline.yaml").read_text()
    assert "my-registry/my-team/" in text
    (tmp_path / "here.yaml").write_text(text.replace("my-registry/my-team/", f"{IMAGES}/"))
    registry, serving = root / "registry", root / "serving"
    places = {"sources": [str(data)], "registry": str(registry), "serving_directory": str(serving)}
    outputs = run_confined(tmp_path / "here.yaml", root, **places)
    # The runner can report success for a container that failed: what counts is what lies on disk.
    assert outputs["compare-models"]["outcome"] == "PROMOTE", outputs["compare-models"]["reason"]
    assert Registry(str(registry)).champion().version == 1
    assert (serving / "1" / "saved_model.pb").exists()
    bundle = json.loads((outputs["finetune-bert"]["model"] / "bundle.json").read_text())
    assert "dialogue" in bundle["labels"]

    # The champion answers the table.
    predict = load("batch_predict")
    place = {"output": str(root / "predicted"), "prefix": "predicted_"}
    predict(table=str(data), model_uri=str(registry), **place)
    predicted = pq.read_table(root / "predicted")
    assert set(predicted["predicted_model_version"].to_pylist()) == {1}
    assert set(predicted["predicted_label"].to_pylist()) <= set(bundle["labels"])


def test_with_everything_on_s3_models_are_promoted_kept_and_rolled_back_and_unchanged_data_trains_nothing(
    first_lines, s3, root, tmp_path
):
    s3.put("bucket", "lines.csv", small_data(root).read_bytes())
    environment = {**KEYS, "AWS_ENDPOINT_URL": s3.url, "AWS_ALLOW_HTTP": "true"}
    compiler.Compiler().compile(train_and_deploy, str(tmp_path / "ready.yaml"))
    places = {"registry": "s3://bucket/registry", "serving_directory": "s3://bucket/serving"}

    def run(**settings):
        started = time.monotonic()
        found = run_confined(
            tmp_path / "ready.yaml", root, environment, sources=["s3://bucket/lines.csv"], **places, **settings
        )
        print(f"{time.monotonic() - started:.0f} s: {', '.join(found)}")
        return found

    always = {"pin-data", "evaluate-champion", "compare-models", "promote-model", "deploy-to-serving-directory"}
    first = run()
    assert first["compare-models"]["outcome"] == "PROMOTE", first["compare-models"]["reason"]
    again = run()
    assert again.keys() == {*always, "clean-up-run"}
    assert again["promote-model"]["champion_version"] == "1"
    chosen = run(seed=1, policy="{override: PROMOTE, override_by: a tester, override_reason: two versions}")
    assert chosen.keys() == {*again, "finetune-bert", "evaluate-model"}
    assert chosen["compare-models"]["outcome"] == "PROMOTE", chosen["compare-models"]["reason"]
    assert live(places) == ("2", 2)

    Registry(places["registry"]).rollback(reason="a complaint")
    load("deploy_to_serving_directory")(**places)
    assert live(places) == ("3", 1)
    server = f"http://127.0.0.1:{(port := free_port())}"
    with serve_image(
        environment | {"AIP_STORAGE_URI": places["serving_directory"], "AIP_HTTP_PORT": str(port)}
    ) as started:
        wait_until_ready(started, f"{server}/healthz")
        found = ask(f"{server}/v1/models/bert:predict", {"instances": TEXTS})["predictions"]
    expected = read_bundle(first["finetune-bert"]["model"]).predict(TEXTS)
    np.testing.assert_allclose([answer["probabilities"] for answer in found], expected, atol=1e-5)


def live(places):
    """The newest folder of the serving directory, and the version that the record says is in it."""
    folders = open_store(places["serving_directory"]).folders()
    return max(folders, key=int), Registry(places["registry"]).deployment("production").live_version


def load(component):
    """A component from the file that the package publishes."""
    return components.load_component_from_file(str(ROOT / "component_specs" / component / "component.yaml"))


def test_the_deployment_to_ai_platform_runs_confined(first_lines, gcs, root, tmp_path):
    Registry("gs://bucket/registry").promote(*write_examined(tmp_path / "first", "first", saved_model=False))
    storage = {name: value for name, value in os.environ.items() if name.startswith("STORAGE_EMULATOR")}
    local.init(confined_runner(**storage), pipeline_root=str(root))
    deploy = load("deploy_to_ai_platform")
    with AiPlatformServer() as server:
        place = {"project": "p", "location": "region-1", "api_endpoint": server.url}
        deploy(registry="gs://bucket/registry", drain_seconds=0.0, **place)
    assert Registry("gs://bucket/registry").deployment("production").live_version == 1


def test_the_deployment_to_kserve_runs_confined(first_lines, gcs, root, tmp_path):
    Registry("gs://bucket/registry").promote(*write_examined(tmp_path / "first", "first", saved_model=False))
    storage = {name: value for name, value in os.environ.items() if name.startswith("STORAGE_EMULATOR")}
    local.init(confined_runner(**storage), pipeline_root=str(root))
    deploy = load("deploy_to_kserve")
    with KubernetesServer(factor=200) as server:
        server.cluster.find_model = lambda uri: Model("model first", load_seconds=1.0)
        server.cluster.add("Namespace", "serving")
        deploy(registry="gs://bucket/registry", name="films", namespace="serving", api_endpoint=server.url)
    assert Registry("gs://bucket/registry").deployment("production").live_version == 1


def test_the_answer_of_a_person_and_a_rollback_run_confined(first_lines, root, tmp_path):
    registry = Registry(str(root / "registry"))
    promote_next(registry, tmp_path, "first")
    _, _, decision = candidate_for(registry, root, "asked")
    registry.ask_approval(read_decision(decision), hours=1.0)
    registry.answer_approval("asked", approve=False, reason="no")
    for path in root.rglob("*"):  # another user goes on with it
        path.chmod(0o777 if path.is_dir() else 0o666)
    local.init(confined_runner(), pipeline_root=str(root))

    @dsl.pipeline(name="ask")
    def ask(decision: str, registry: str):
        made = dsl.importer(artifact_uri=decision, artifact_class=dsl.Artifact).output
        wait = components.load_component_from_file(str(ROOT / "component_specs/wait_for_approval/component.yaml"))
        wait(decision=made, registry=registry)

    ask(decision=str(decision), registry=registry.uri)
    answered = read_outputs(next(root.glob("ask-*")))["wait-for-approval"]
    assert answered["outcome"] == "REJECTED"
    assert read_decision(answered["answered"]).outcome == "HOLD"

    promote_next(registry, tmp_path, "second")
    roll_back = components.load_component_from_file(str(ROOT / "component_specs/rollback_model/component.yaml"))
    roll_back(registry=registry.uri)
    assert registry.require_champion().version == 1


def test_every_component_has_run(first_lines):
    assert set(first_lines) == set(package.COMPONENTS)
