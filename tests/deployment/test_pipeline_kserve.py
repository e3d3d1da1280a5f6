"""The main pipeline from gs:// to an InferenceService, against the fakes of storage and Kubernetes.

The three runs train three models, so they are made only with `KFP_BERT_ROUNDS=all`.
"""

import json
import os
import subprocess
import sys

import pytest
import yaml

from kfp_bert_components.errors import UserError
from kfp_bert_components.pipelines import train_and_deploy_to_kserve
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.deploy_to_serving_directory import load
from tests.conftest import ROOT
from tests.support.examined import write_examined
from tests.support.http_folder import serving_folder
from tests.support.kserve_rollouts import MODES as ALL_MODES
from tests.support.kserve_rollouts import NAME, NAMESPACE, SERVICES
from tests.support.kubernetes_predictors import Model, wrong
from tests.support.kubernetes_server import KubernetesServer
from tests.support.pipeline_runs import run_pipeline, small_data
from tests.support.stores import gcs

__all__ = ["gcs"]
# A step is a process of its own, which does not know the names of the Services of a cluster that is played here.
MODES = [one for one in ALL_MODES if one != "Gateway"]
PIPELINE = "kfp_bert_components.pipelines:train_and_deploy_to_kserve"


class Served:
    """Answers with the models of the registry; the versions in `wrong` answer backwards."""

    def __init__(self, registry, scratch):
        self.registry, self.scratch, self.models, self.wrong = registry, scratch, {}, set()

    def __call__(self, uri):
        if "/versions/" not in uri:
            return None
        version = int(uri.split("/versions/")[1].split("/")[0])
        if version not in self.models:
            folder = self.scratch / str(version)
            self.registry.fetch_bundle(version, folder)
            known = json.loads((folder / "bundle.json").read_text())
            self.models[version] = known["fingerprint"], known["labels"], load(folder)
        fingerprint, labels, answer = self.models[version]

        def predict(texts):
            rows = [one["probabilities"] for one in answer([{"text": text} for text in texts])]
            return [row[::-1] for row in rows] if version in self.wrong else rows

        return Model(fingerprint, labels=labels, predict=predict, load_seconds=1.0)


def start(server, registry, find_model, mode):
    server.cluster.find_model = find_model
    server.cluster.default_mode, server.cluster.knative = mode, mode == "Knative"
    server.cluster.add("Namespace", NAMESPACE)
    return {"registry": registry.uri, "name": NAME, "namespace": NAMESPACE, "api_endpoint": server.url}


def serving(server):
    (service,) = server.cluster.store.list(SERVICES, NAMESPACE)
    env = service["spec"]["predictor"]["containers"][0]["env"]
    return service["metadata"]["name"], env[0]["value"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_the_component_runs_under_kfp_local_and_its_failure_is_told(gcs, tmp_path, mode):
    registry = Registry("gs://bucket/registry")
    registry.promote(*write_examined(tmp_path / "first", "first", saved_model=False))
    right = Model("model first", load_seconds=1.0)
    with KubernetesServer(factor=200) as server:
        given = start(server, registry, lambda uri: right, mode)
        found = run_pipeline("kfp_bert_components:deploy_to_kserve", tmp_path / "run", **given)
        (outputs,) = found.values()
        assert outputs["url"].startswith("http://") and outputs["revision"].startswith(f"{NAME}-predictor-")
        assert serving(server) == (NAME, "gs://bucket/registry/versions/1/bundle")
        assert registry.deployment("production").origin["folder"]
        champion = registry.require_champion()
        second = write_examined(tmp_path / "b", "second", champion=(1, champion.generation), saved_model=False)
        registry.promote(*second)
        server.cluster.find_model = lambda uri: Model("model second", predict=wrong, load_seconds=1.0)
        with pytest.raises(UserError, match="differs by"):
            run_pipeline("kfp_bert_components:deploy_to_kserve", tmp_path / "again", **given)
        assert serving(server) == (NAME, "gs://bucket/registry/versions/1/bundle")


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("KFP_BERT_ROUNDS") != "all", reason="trains three models in minutes")
@pytest.mark.parametrize("mode", MODES)
def test_three_runs_of_the_pipeline_deploy_replace_and_revert(gcs, tmp_path, mode):
    data = small_data(tmp_path, rows=1500)
    registry = Registry("gs://bucket/registry")
    with KubernetesServer(factor=50) as server:
        served = Served(registry, tmp_path)
        given = start(server, registry, served, mode)

        def run(epochs):
            return run_pipeline(
                PIPELINE,
                tmp_path / f"epochs-{epochs}",
                sources=json.dumps([str(data)]),
                epochs=epochs,
                max_length=48,
                test_fraction=0.3,
                training=json.dumps({"layers": 1, "width": 64, "heads": 2}),
                policy="require_all_classes: false",  # the first model knows some of them
                **given,
            )

        assert run(5)["compare-models"]["outcome"] == "PROMOTE"
        assert serving(server)[1].endswith("/versions/1/bundle")
        assert run(7)["compare-models"]["outcome"] == "PROMOTE"
        assert registry.deployment("production").live_version == 2
        served.wrong = {3}
        with pytest.raises(UserError):
            run(12)
        record = registry.deployment("production")
        assert (record.state, record.version, record.live_version) == ("failed", 3, 2)
        assert serving(server)[1].endswith("/versions/2/bundle")
    story = [event.text for event in registry.history()]
    print(*story, sep="\n")
    assert story[-1].startswith("The rollout of version 3 to production failed, and version 2 serves as before: ")


def test_the_ready_pipeline_takes_the_service_account_of_the_pods():
    dag = train_and_deploy_to_kserve.pipeline_spec.components["comp-exit-handler-1"].dag
    given = dag.tasks["deploy-to-kserve"].inputs.parameters["service_account"]
    assert given.component_input_parameter == "pipelinechannel--service_account"


def test_the_example_ends_with_it(tmp_path):
    with serving_folder(ROOT / "component_specs") as url:
        command = [sys.executable, ROOT / "examples" / "train_and_deploy_to_kserve.py", tmp_path / "pipeline.yaml"]
        subprocess.run(command, check=True, env={**os.environ, "COMPONENT_SPECS": url})
    components = yaml.safe_load((tmp_path / "pipeline.yaml").read_text())["components"]
    task = components["comp-exit-handler-1"]["dag"]["tasks"]["deploy-to-kserve"]
    assert task["dependentTasks"] == ["promote-model"]
    assert "triggerPolicy" not in task and task["cachingOptions"] == {}
    assert set(task["inputs"]["parameters"]) >= {"registry", "name", "namespace", "storage", "image", "service_account"}
