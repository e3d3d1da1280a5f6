"""Which way a rollout to KServe in its mode Standard takes: a canary that gets shares of the requests, or not."""

import pytest

from kfp_bert_components.deployment import LeaseLostError, RolloutError
from kfp_bert_components.kserve import KServeSettings, deploy_to_kserve
from tests.support.kserve_canaries import STEPS, At, change, written
from tests.support.kserve_rollouts import NAME, NAMESPACE
from tests.support.kserve_shares import DONE, FAILED, rarely
from tests.support.kserve_worlds import empty, world
from tests.support.kubernetes_gateway import ROUTES

__all__ = ["empty", "world"]


@pytest.fixture
def mode():
    return "Gateway"


RIGHTS = {
    "right to routes": ["", "apps", "serving.kserve.io"],
    "right to Deployments": ["", "gateway.networking.k8s.io", "serving.kserve.io"],
}


TOLD = {
    "right to routes": "httproutes",
    "right to Deployments": "deployments",
    "route": "KServe has made no HTTPRoute",
    "follower": "no gateway has taken over the HTTPRoute films",
    "field": "has no spec.canary",
    "transformer": "past its transformer",
}


@pytest.mark.parametrize("lacks", ["gateway", "route", "follower", "field", *RIGHTS, "transformer", "nothing"])
def test_without_all_that_shares_the_requests_the_first_way_is_taken(world, lacks):
    cluster, report = world.server.cluster, At("without shares of the requests", lambda: None)
    if lacks == "gateway":
        cluster.gateway_api = False
    elif lacks == "route":
        disown_route(world)
    elif lacks == "follower":
        cluster.store.set_status(ROUTES, NAMESPACE, NAME, {})
    elif lacks == "field":
        cluster.canaries = False
    elif lacks == "transformer":
        transformer = {"containers": [{"name": "kserve-container", "image": "t"}]}
        change(world, lambda one: one["spec"].update(transformer=transformer))
    if lacks in RIGHTS or lacks == "gateway":  # where the kind is not there, the right is not missed
        groups = RIGHTS.get(lacks, RIGHTS["right to routes"])
        world.server.rules = [{"apiGroups": groups, "resources": ["*"], "verbs": ["*"]}]
    settings = KServeSettings(NAME, NAMESPACE, cpu="100m", ready_seconds=10)
    deploy_to_kserve("gs://bucket/registry", settings, api_endpoint=world.server.url, dry_run=True, report=report)
    way = "in a canary that gets no requests" if lacks == "nothing" else "in an InferenceService of its own"
    assert any(way in line for line in report.lines)
    said = [line for line in report.lines if "without shares of the requests" in line]
    assert len(said) == (lacks not in ("gateway", "nothing"))
    assert all(TOLD[lacks] in line for line in said)


def test_where_the_route_gives_a_canary_no_share_the_pods_are_replaced_after_the_test(world):
    world.server.cluster.gateway.weights, lines = False, []  # KServe 0.20.0
    with pytest.raises(
        RolloutError, match="gives its canary, which is ready, no share of the requests, and traffic_steps"
    ):
        world.deploy(traffic_steps=(50, 100))
    assert world.state() == FAILED
    world.server.calls.clear()
    world.deploy(report=lines.append)
    assert written(world) == ["canary 0", "predictor 2", "no canary"]
    assert any("no share of the requests: the pods are replaced after the test" in line for line in lines)
    assert world.state() == DONE


def test_steps_are_allowed_for_a_first_version_and_used_for_the_second(empty):
    def stop():
        raise LeaseLostError("stopped")

    given = {"traffic_steps": (30, 100), "step_seconds": 0.01}
    with pytest.raises(LeaseLostError):
        empty.deploy(report=At("removing what only", stop), **given)
    assert empty.deploy(**given)["facts"]["mode"] == "Standard"
    empty.promote()
    empty.server.calls.clear()
    empty.deploy(**given)
    assert written(empty) == ["canary 0", "canary 30", *STEPS[3:]]


def test_a_dry_run_says_whether_a_rollout_that_stopped_is_taken_back(world):
    def stop():
        raise LeaseLostError("stopped")

    def plan():
        lines = []
        settings = KServeSettings(NAME, NAMESPACE, cpu="100m", ready_seconds=10)
        deploy_to_kserve(world.registry.uri, settings, api_endpoint=world.server.url, dry_run=True, report=lines.append)
        return lines[0]

    with pytest.raises(LeaseLostError):
        world.deploy(report=At("gets 50 %", stop))
    assert plan() == "would go on with the rollout of version 2, which is shifting"
    world.registry.rollback()
    assert plan() == "would take back version 2, which is shifting"
    world.deploy()
    assert world.versions_serving() == {1: 100}


def disown_route(world):
    """Make the HTTPRoute one that KServe has not made."""

    def change(one):
        one["metadata"]["ownerReferences"] = []
        return one

    world.server.cluster.store.change(ROUTES, NAMESPACE, NAME, change)


@rarely
def test_steps_are_refused_where_there_is_no_route(world):
    disown_route(world)
    with pytest.raises(
        RolloutError, match="traffic_steps and step_seconds are for KServe's mode Knative, and for Stan"
    ):
        world.deploy(traffic_steps=(50, 100))
    assert world.changes() == []
