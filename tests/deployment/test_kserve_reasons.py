"""What never starts is refused or ends early, with the true cause; what serves goes on to serve."""

import json
import time
from dataclasses import replace

import pytest

from kfp_bert_components.deployment import RolloutError
from tests.support.kserve_rollouts import MODES, NAME, NAMESPACE, NEXT, PODS, SERVICES, STANDARD
from tests.support.kserve_worlds import empty, world

__all__ = ["empty", "world"]


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


def fails(world, says, before_writing=False, **changes):
    """It fails with a sentence that has these words, soon, and the old version serves on."""
    started = time.monotonic()
    with pytest.raises(RolloutError, match=says):
        world.deploy(**changes)
    assert time.monotonic() - started < 5
    assert world.state()["serving"] == {1: 100}
    assert world.state()["services"] == [NAME]
    assert not before_writing or world.changes() == []


def test_an_image_that_cannot_be_pulled(world):
    world.server.cluster.missing_images = {"no/such:image"}
    fails(world, "can't start: (ErrImagePull|ImagePullBackOff).*no/such:image", image="no/such:image")


def test_a_model_that_cannot_be_loaded(world):
    world.broken = {2: "version 1 cannot be served: no graph"}
    fails(world, "(ended with exit code 1|can't load its model): version 1 cannot be served: no graph")


def test_a_model_that_cannot_be_loaded_by_a_server_that_waits(world):
    world.server.cluster.ends_without_model = False
    world.broken = {2: "version 1 cannot be served: no graph"}
    fails(world, "can't load its model: version 1 cannot be served: no graph")


def test_a_model_that_is_not_in_the_bucket(world):
    real = world.server.cluster.find_model
    world.server.cluster.find_model = lambda uri: None if "/versions/2/" in uri else real(uri)
    fails(world, "storage-initializer .*Failed to fetch model|storage-initializer .*Storage initialization failed")


def test_a_download_that_failed_once_and_runs_again_is_waited_for(world):
    tries, real, cluster = [], world.server.cluster.find_model, world.server.cluster

    def find_model(uri):
        if "/versions/2/" in uri:
            tries.append(uri)
        return None if "/versions/2/" in uri and len(tries) <= 2 else real(uri)

    cluster.find_model = find_model
    cluster.seconds["download"] = 160.0  # more than what ends a wait that does not heal
    world.deploy()
    assert world.state()["serving"] == {2: 100}


@STANDARD
def test_a_pod_that_was_evicted_is_not_looked_at_while_another_one_starts(world):
    real, cluster = world.server.cluster.find_model, world.server.cluster
    cluster.find_model = lambda uri: replace(real(uri), load_seconds=160.0) if "/versions/2/" in uri else real(uri)
    ended = {"terminated": {"exitCode": 137, "reason": "Error", "message": "evicted"}}
    over = {"phase": "Failed", "reason": "Evicted", "containerStatuses": [{"name": "kserve-container", "state": ended}]}

    def evict(number, call):
        pods = cluster.store.list(PODS, NAMESPACE, f"serving.kserve.io/inferenceservice={NEXT}")
        for pod in pods[:1]:
            if not cluster.store.find(PODS, NAMESPACE, "a-pod"):
                metadata = {key: pod["metadata"][key] for key in ("namespace", "labels", "annotations")}
                missing = {"name": "m", "persistentVolumeClaim": {"claimName": "m"}}  # so that nothing starts in it
                spec = {**pod["spec"], "volumes": [missing]}
                cluster.add("Pod", "a-pod", metadata={**metadata, "name": "a-pod"}, spec=spec, status=over)
            cluster.store.set_status(PODS, NAMESPACE, "a-pod", over)

    world.server.on_call = evict
    world.deploy()
    assert cluster.store.find(PODS, NAMESPACE, "a-pod")
    assert world.state()["serving"] == {2: 100}


def test_a_bucket_that_is_not_there(world):
    real = world.server.cluster.find_model
    world.server.cluster.find_model = lambda uri: None if "/versions/2/" in uri else real(uri)
    world.server.cluster.buckets = set()
    fails(world, "GS resource 'bucket' not found")


def test_a_claim_that_is_missing(world):
    fails(world, "There is no PersistentVolumeClaim nopvc in the namespace", True, storage="pvc://nopvc/registry")


def test_a_claim_that_is_missing_and_may_not_be_read(world):
    forbid(world, "persistentvolumeclaims")
    fails(world, 'no node takes the pod .*persistentvolumeclaim "nopvc" not found', storage="pvc://nopvc/registry")


def test_a_path_that_is_not_on_the_volume(world):
    world.server.cluster.add("PersistentVolumeClaim", "models")
    real = world.server.cluster.find_model
    world.server.cluster.find_model = lambda uri: None if "elsewhere" in uri else real(uri)
    fails(world, "/mnt/models holds no model", storage="pvc://models/elsewhere")


def test_an_address_that_no_initializer_reads(world):
    with pytest.raises(Exception, match="storage is 'foo://bucket': give the registry's address"):
        world.deploy(storage="foo://bucket")
    assert world.changes() == []


def test_more_cpus_than_any_node_has(world):
    fails(world, "does not serve after .*: no node takes the pod .*Insufficient cpu", cpu="1000", ready_seconds=0.6)


def test_no_room_yet_is_waited_for(world):
    world.server.cluster.node_cpu = 0.0
    lines = []

    def report(line):
        lines.append(line)
        if "Insufficient cpu" in line:
            world.server.cluster.node_cpu = 64.0

    world.deploy(report=report)
    assert any("no node takes the pod" in line for line in lines)
    assert world.state()["serving"] == {2: 100}


@STANDARD
def test_a_quota(world):
    world.server.cluster.quota = 1
    fails(world, "FailedCreate: .*exceeded quota: tight")


@STANDARD
def test_a_quota_that_has_room_for_the_test_only(world):
    world.server.cluster.quota = 2
    fails(world, "FailedCreate: .*exceeded quota: tight")


def test_a_server_that_ends_at_once(world):
    world.server.cluster.add_runtime("crash", command=["sh", "-c", 'echo "no licence"; exit 3'], args=[])
    with pytest.raises(RolloutError, match="ended with exit code 3: no licence"):
        fresh(world, runtime="crash")


def test_a_service_account_that_is_missing(world):
    fails(world, "There is no service account models", True, service_account="models")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({}, "There is no ServingRuntime kfp"),
        ({"supportedModelFormats": [{"name": "sklearn"}]}, "serves the formats sklearn, and not kfp-bert"),
        ({"supportedModelFormats": [{"name": "kfp-bert"}], "protocolVersions": ["v2"]}, "speaks v2, and not v1"),
        ({"supportedModelFormats": [{"name": "kfp-bert"}], "disabled": True}, "is disabled"),
    ],
)
def test_a_runtime_that_does_not_fit(world, spec, says):
    if spec:
        world.server.cluster.add("ServingRuntime", "kfp", spec={"containers": [{"name": "x"}], **spec})
    fails(world, says, True, runtime="kfp")


def test_a_runtime_that_is_missing_and_may_not_be_read(world):
    forbid(world, "servingruntimes", "clusterservingruntimes")
    with pytest.raises(RolloutError, match="RuntimeNotRecognized: Waiting for runtime"):
        fresh(world, runtime="kfp")


@STANDARD
def test_a_failure_of_an_earlier_roll_is_not_taken_for_this_ones(world):
    """The status shows it for as long as nothing else is rolled; where pods can't be read, it is all there is."""
    forbid(world, "pods")
    failure = {"reason": "ModelLoadFailed", "exitCode": 1, "message": "of long ago"}
    model = {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": failure}
    real, cluster = world.server.cluster.find_model, world.server.cluster
    # Slower than the time after which a reason that does not heal ends a wait.
    cluster.find_model = lambda uri: replace(real(uri), load_seconds=160.0) if "/versions/2/" in uri else real(uri)

    def show_failure():
        cluster.store.set_status(SERVICES, NAMESPACE, NAME, {**world.service()["status"], "modelStatus": model})

    def keep_showing_it(number, call):  # the fake's controller forgets it, the real one does not
        pods = cluster.store.list(PODS, NAMESPACE, f"serving.kserve.io/inferenceservice={NAME}")
        if any("/versions/2/" in json.dumps(pod["metadata"]["annotations"]) for pod in pods):
            cluster.controller = False
            show_failure()

    show_failure()
    world.server.on_call = keep_showing_it
    lines = []
    world.deploy(report=lines.append)
    assert world.state()["serving"] == {2: 100}
    assert not any("of long ago" in line for line in lines)


@STANDARD
def test_the_second_service_is_deleted_by_somebody(world):
    deleted = []

    def delete(number, call):
        if (call.verb, call.name) == ("get", NEXT) and world.service(NEXT) and not deleted:
            deleted.append(number)
            world.server.cluster.store.delete(SERVICES, NAMESPACE, NEXT)

    world.server.on_call = delete
    try:
        world.deploy()
        assert world.state()["serving"] == {2: 100}
    except RolloutError as error:
        assert "somebody deleted it" in str(error)
        assert world.state()["serving"] == {1: 100}
    assert deleted


def fresh(world, **changes):
    """Deploy under another name, as a predictor can't be changed from one form to the other."""
    return world.deploy(name="other", **changes)


def forbid(world, *resources):
    """Take the rights to some resources away."""
    groups = {"serving.kserve.io", "apps", ""}
    there = ["inferenceservices", "deployments", "pods", "pods/log", "namespaces", "serviceaccounts"]
    there += ["persistentvolumeclaims", "servingruntimes", "clusterservingruntimes"]
    rule = {"apiGroups": sorted(groups), "resources": [one for one in there if one not in resources], "verbs": ["*"]}
    world.server.rules = world.server.cluster_rules = [rule]
