"""What the record says after a rollout that failed while no pod was ready, and what gc then keeps."""

import pytest

from kfp_bert_components.errors import UserError
from tests.support.kserve_rollouts import EVERY, NAME, NAMESPACE, PODS, SERVICES, change
from tests.support.kserve_shares import wait_until
from tests.support.kserve_worlds import empty, world
from tests.support.kubernetes_server import Fault

__all__ = ["empty", "world"]

STOP = "serving.kserve.io/stop"
IN_ALL = pytest.mark.parametrize("mode", EVERY)


@pytest.fixture
def mode():
    return "Standard"


def stop(world, stopped):
    """Stop, or start, the InferenceService as somebody else would."""
    annotations = world.service()["metadata"].get("annotations", {})
    others = {key: value for key, value in annotations.items() if key != STOP}
    change(world, NAME, metadata={"annotations": {**others, STOP: "true"} if stopped else others})


def evict(world):
    """End the pods of the InferenceService; those that take their place start slowly."""
    store = world.server.cluster.store
    world.server.cluster.seconds |= {"pull": 100.0, "download": 100.0}
    for pod in store.list(PODS, NAMESPACE, f"serving.kserve.io/inferenceservice={NAME}"):
        store.delete(PODS, NAMESPACE, pod["metadata"]["name"])


def at_line(text, happens):
    """A report by which something happens at the lines with a text."""

    def report(line):
        if text in line:
            happens()

    return report


def fail(world, **given):
    """Roll out a version that fails; what the record then says of what serves."""
    with pytest.raises(UserError):
        world.deploy(**given)
    record = world.registry.deployment("production")
    return record.live_version, record.live_is_known


def fail_another(world):
    """Promote another version, which fails; what the record then says of what serves."""
    world.wrong = {world.promote()}
    return fail(world)


def test_an_eviction_while_a_version_is_taken_back_does_not_let_the_old_one_be_forgotten(world):
    world.wrong = {2}
    assert fail(world, report=at_line("reverting, because", lambda: evict(world))) == (1, False)
    wait_until(lambda: world.versions_serving() == {1: 100})
    assert fail_another(world) == (1, True)
    assert 1 not in world.registry.gc(1).remove


@IN_ALL
def test_one_that_is_stopped_during_a_rollout_and_started_again_keeps_its_version(world):
    world.wrong = {2}
    assert fail(world, report=at_line("asking it for texts", lambda: stop(world, True))) == (1, False)
    assert 1 not in world.registry.gc(1).remove
    stop(world, False)
    wait_until(lambda: world.versions_serving() == {1: 100})
    fail_another(world)
    assert world.versions_serving() == {1: 100} and 1 not in world.registry.gc(1).remove


def test_one_that_is_stopped_when_a_step_is_refused_keeps_its_version(world):
    stop(world, True)
    assert fail(world) == (1, False)
    assert world.registry.deployment("production").state == "failed"
    world.promote()
    assert 1 not in world.registry.gc(1).remove


@pytest.mark.parametrize("mode", ["Knative"])
def test_a_revision_that_has_all_requests_at_percent_0_keeps_its_version(world):
    report = at_line("gets 10 %", lambda: change(world, NAME, minReplicas=2, maxReplicas=3))
    assert fail(world, report=report) == (1, False)
    assert world.service()["spec"]["predictor"]["canaryTrafficPercent"] == 0
    assert fail_another(world) == (1, False)
    assert world.versions_serving() == {1: 100} and 1 not in world.registry.gc(1).remove


@IN_ALL
def test_a_version_that_cannot_be_taken_back_lets_the_one_before_be_kept(world):
    def refuse():
        world.server.faults = [Fault("patch", "inferenceservices", times=-1, status=422)]

    text = {"Standard": "asked at", "Knative": "gets 50 %", "Gateway": "gets 50 %"}[world.mode]
    assert fail(world, report=at_line(text, refuse))[0] == 1
    world.promote()
    assert 1 not in world.registry.gc(1).remove


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
def test_a_version_that_the_record_has_forgotten_is_read_from_what_serves(world):
    record = world.registry.deployment("production")
    world.registry.record_deployment(
        "production",
        if_generation=record.generation,
        state="failed",
        version=2,
        reason="it failed",
        details={**record.details, "step": "failed", "live": {}},
        place=record.place,
        served="",
    )
    world.wrong = {2}
    assert fail(world) == (1, True)
    assert world.registry.deployment("production").live_served.startswith(f"{NAME}-predictor-")
    assert fail_another(world) == (1, True)


def test_one_that_somebody_deleted_is_none_of_the_registry(world):
    world.wrong = {2}
    delete = world.server.cluster.store.delete
    assert fail(world, report=at_line("asking it for texts", lambda: delete(SERVICES, NAMESPACE, NAME))) == (None, True)


def test_one_with_another_stamp_is_none_of_the_registry(world):
    def rewrite():
        containers = world.service()["spec"]["predictor"]["containers"]
        env = [{"name": "STORAGE_URI", "value": "gs://theirs/model"}]
        change(world, NAME, containers=[{**containers[0], "env": env}])

    world.wrong = {2}
    assert fail(world, report=at_line("asking it for texts", rewrite)) == (None, True)
