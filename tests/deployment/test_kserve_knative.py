"""A rollout to KServe in its mode Knative: revisions, shares of the requests, and the way back."""

import pytest

from kfp_bert_components.deployment import RolloutError
from tests.support.kserve_rollouts import NAME, KServeWorld
from tests.support.kubernetes_server import KubernetesServer


@pytest.fixture
def empty(gcs):
    """A registry with one version, and a cluster with Knative on which nothing is deployed."""
    server = KubernetesServer(factor=200)
    world = KServeWorld("gs://bucket/registry", server, "Knative")
    with server:
        world.promote()
        yield world


@pytest.fixture
def world(empty):
    """The first version is live, and a second one is to be deployed."""
    empty.deploy()
    empty.promote()
    empty.server.calls.clear()
    return empty


def shares(world):
    """The shares that the version was given, in the order of the writes."""
    written = [call.body for call in world.server.changing_calls() if call.name == NAME]
    return [one["spec"]["predictor"].get("canaryTrafficPercent") for one in written]


def test_a_version_gets_the_requests_in_steps(world):
    live = world.deploy()
    assert shares(world) == [0, 10, 50, 100, None]
    assert world.state() == {"serving": {2: 100}, "services": [NAME], "record": ("live", 2)}
    assert live["facts"]["witnesses"] == ["its servers", "the InferenceService's status"]
    assert live["facts"]["served"] == f"{NAME}-predictor-00002"


def test_a_wrong_version_never_gets_a_request_of_others(world):
    before, world.wrong = world.service(), {2}
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy()
    assert world.service()["spec"] == before["spec"]
    assert world.state() == {"serving": {1: 100}, "services": [NAME], "record": ("failed", 2)}
    assert shares(world) == [0, 0, None]
