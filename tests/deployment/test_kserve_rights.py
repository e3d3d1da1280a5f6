"""The Role in examples/ allows all that a rollout does, and no more; with fewer rights there are fewer witnesses."""

import time

import pytest
import yaml

from kfp_bert_components.deployment import RolloutError
from kfp_bert_components.kserve import KServeSettings, deploy_to_kserve
from kfp_bert_components.kserve.witnesses import condition
from tests.conftest import ROOT
from tests.support.kserve_rollouts import FEW, MODES, NAME, NAMESPACE, KServeWorld
from tests.support.kubernetes_server import KubernetesServer

ROLE, BINDING = yaml.safe_load_all((ROOT / "examples" / "kserve-rights.yaml").read_text())
EDIT = {"apiGroups": ["serving.kserve.io"], "resources": ["inferenceservices", "servingruntimes"], "verbs": ["*"]}
CLIENTS = {"clusterservingruntimes"}  # of the whole cluster: where they may not be read, they are not looked at


@pytest.fixture
def world(gcs):
    server = KubernetesServer(factor=200)
    world = KServeWorld("gs://bucket/registry", server)
    with server:
        world.promote()
        yield world


@pytest.fixture
def canary_world(gcs):
    """One in which a version was rolled out by a canary, and another one failed."""
    server = KubernetesServer(factor=200)
    world = KServeWorld("gs://bucket/another", server, "Gateway")
    with server:
        server.rules = ROLE["rules"]
        world.promote()
        world.deploy()
        world.promote()
        assert world.deploy()["facts"]["mode"] == "Canary"
        world.wrong = {world.promote()}
        with pytest.raises(RolloutError, match="differs by"):
            world.deploy()
        assert world.state() == {"serving": {2: 100}, "services": [NAME], "record": ("failed", 3)}
        yield world


def test_the_role_is_all_that_rollouts_need_and_nothing_in_it_is_spare(world, canary_world):
    world.server.rules = ROLE["rules"]
    cluster = world.server.cluster
    cluster.add("PersistentVolumeClaim", "models")
    cluster.add("ServiceAccount", "models")
    cluster.add("ServingRuntime", "crash", spec=crash())
    given = {"service_account": "models", "storage": "pvc://models/registry"}
    live = world.deploy(**given)
    assert live["facts"]["witnesses"] == ["its Deployment", "its servers"]
    world.promote()
    world.deploy(**given)
    world.wrong = {world.promote()}
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy(**given)
    with pytest.raises(RolloutError, match="no licence"):  # which stands in the log only
        world.deploy(name="other", runtime="crash")
    settings = KServeSettings(NAME, NAMESPACE, service_account="models", storage="pvc://models/registry")
    deploy_to_kserve("gs://bucket/registry", settings, smoke=FEW, api_endpoint=world.server.url, dry_run=True)
    calls = [*world.server.calls, *canary_world.server.calls]
    used = {(call.group, call.resource, call.verb) for call in calls if call.resource not in CLIENTS}
    allowed = {
        (group, resource, verb)
        for rule in ROLE["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    # An apply that makes the object needs the right to create it, too.
    assert used | {("serving.kserve.io", "inferenceservices", "create")} == allowed


@pytest.mark.skipif("Knative" not in MODES, reason="tried with KFP_BERT_ROUNDS=all")
def test_the_role_is_enough_for_knative(gcs):
    server = KubernetesServer(factor=200)
    world = KServeWorld("gs://bucket/registry", server, "Knative")
    with server:
        server.rules = ROLE["rules"]
        world.promote()
        world.deploy()
        world.wrong = {world.promote()}
        with pytest.raises(RolloutError, match="differs by"):
            world.deploy()
        assert world.state() == {"serving": {1: 100}, "services": [NAME], "record": ("failed", 2)}


def crash():
    made = {"name": "kserve-container", "image": "i", "command": ["sh", "-c", 'echo "no licence"; exit 3']}
    return {"supportedModelFormats": [{"name": "kfp-bert"}], "protocolVersions": ["v1"], "containers": [made]}


def test_the_binding_is_of_the_role():
    assert BINDING["roleRef"]["name"] == ROLE["metadata"]["name"]
    assert BINDING["metadata"]["namespace"] == ROLE["metadata"]["namespace"]


def test_with_kserves_own_role_the_status_is_the_witness(world):
    world.server.rules = [EDIT]
    live = world.deploy()
    assert live["facts"]["witnesses"] == ["its servers", "the InferenceService's status"]
    world.promote()
    live = world.deploy()
    assert world.state() == {"serving": {2: 100}, "services": [NAME], "record": ("live", 2)}
    assert live["facts"]["served"].startswith(f"{NAME}-predictor-")
    world.server.calls.clear()
    world.deploy()
    assert world.changes() == [] and len(world.server.calls) <= 5


def test_with_kserves_own_role_another_number_of_pods_is_no_other_replica_set(world):
    world.server.rules = [EDIT]
    first = world.deploy()
    missing = []  # how many calls there were when the second pod was seen to be missing
    calls = world.server.calls

    def may_come(pod):
        is_second = pod["metadata"]["labels"]["serving.kserve.io/inferenceservice"] == NAME
        return not is_second or (missing and len(calls) >= missing[0] + 10)

    # The status says that it serves until the controller of Deployments has seen that more pods are asked for.
    world.server.cluster.downloads, world.server.cluster.held = may_come, {f"{NAME}-predictor"}
    live = world.deploy(min_replicas=2, max_replicas=3, report=lambda line: until_missing(world, line, missing))
    assert missing
    assert world.service()["spec"]["predictor"]["minReplicas"] == 2
    assert live["facts"]["served"] == first["facts"]["served"]
    assert world.state()["record"] == ("live", 1)


def until_missing(world, line, missing):
    """Wait, before the last look, until the controller has seen that a pod is missing."""
    if "removing" not in line or missing:
        return
    world.server.cluster.release(NAMESPACE, f"{NAME}-predictor")
    end = time.monotonic() + 60
    while condition(world.service()["status"], "PredictorReady")["status"] == "True":
        assert time.monotonic() < end, "the second pod was never missing"
        time.sleep(0.001)
    missing.append(len(world.server.calls))
