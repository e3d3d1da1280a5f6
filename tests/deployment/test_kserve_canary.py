"""A rollout to KServe in its mode Standard with a gateway: a canary, shares of the requests, and the way back.

What is the same in all modes is tried by test_kserve.py, its neighbours and test_rollout_goals.py, in this mode with
`KFP_BERT_ROUNDS=all`.
"""

import os
import signal
import time
from dataclasses import replace
from functools import partial

import pytest
from kubernetes.client import CustomObjectsApi

from kfp_bert_components.deployment import LeaseLostError, RolloutError
from kfp_bert_components.errors import UserError
from kfp_bert_components.kserve import KServeSettings, deploy_to_kserve
from kfp_bert_components.kserve.canaries import address_beside
from kfp_bert_components.kserve.witnesses import condition
from tests.support import kubernetes_workloads
from tests.support.kserve_rollouts import CANARY, FEW, NAME, NAMESPACE, NEXT, PODS, SERVICES, container
from tests.support.kserve_worlds import empty, world
from tests.support.kubernetes_gateway import ROUTES
from tests.support.kubernetes_predictors import wrong
from tests.support.kubernetes_resources import by_kind
from tests.support.kubernetes_server import Fault
from tests.support.kubernetes_store import DEPLOYMENTS

__all__ = ["empty", "world"]

ALL = os.environ.get("KFP_BERT_ROUNDS") == "all"
rarely = pytest.mark.skipif(not ALL, reason="tried with KFP_BERT_ROUNDS=all")
DONE = {"serving": {2: 100}, "services": [NAME], "record": ("live", 2)}
FAILED = {"serving": {1: 100}, "services": [NAME], "record": ("failed", 2)}
STEPS = ["canary 0", "canary 10", "canary 50", "canary 100", "predictor 2", "canary 0", "no canary"]


@pytest.fixture
def mode():
    return "Gateway"


def written(world):
    """What was written into the InferenceService, in short."""
    return [short(call) for call in world.server.changing_calls() if call.name == NAME and call.body]


def short(call):
    spec = call.body.get("spec", {})
    if "predictor" in spec:
        return f"predictor {stamp(spec['predictor']).split('-')[0]}"
    return " ".join(f"canary {one['trafficPercent']}" for one in spec.get("canary", ())) or "no canary"


def stamp(predictor):
    return next(one["value"] for one in predictor["containers"][0]["env"] if one["name"] == "KFP_BERT_ROLLOUT")


def change(world, write):
    """Change the InferenceService as somebody else would."""
    world.server.cluster.store.change(SERVICES, NAMESPACE, NAME, lambda one: write(one) or one)


def spoil(world, when, line):
    """From that line on version 2 answers wrongly."""
    if line == when:
        for pod in world.server.cluster.store.list(PODS, NAMESPACE):
            predictor = world.server.cluster.kubelet.predictor(pod)
            if predictor.model and predictor.model.registry_version == 2:
                predictor.model.predict = wrong


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def at(when, happens):
    """A report by which something happens at the first line that has these words."""
    lines = []

    def report(line):
        first = when in line and not any(when in one for one in lines)
        lines.append(line)
        if first:
            happens()

    report.lines = lines
    return report


def test_a_version_gets_the_requests_in_steps_and_one_that_is_live_costs_five_calls(world):
    before, lines, asked = world.service(), [], []

    def look(number, call):
        if call.verb == "patch" and short(call) == "no canary":
            asked.append(dict(world.server.cluster.gateway.backends(NAMESPACE, NAME)))

    world.server.on_call = look
    world.server.cluster.seconds |= {"routes": 30.0, "proxies": 30.0}  # 0.15 s here, which is waited for
    live = world.deploy(report=lines.append, poll_seconds=0.05, stuck_seconds=5.0)
    assert written(world) == STEPS
    assert world.state() == DONE
    # KServe deletes the canary's Service at once, so the gateway must not send it anything by then.
    assert asked == [{f"{NAME}-predictor": 100, CANARY: 0}]
    assert live["facts"]["mode"] == "Canary"
    assert live["facts"]["witnesses"] == ["its Deployment", "its servers"]
    assert "version 2 gets 50 % of the requests" in lines
    assert f"asked at http://{CANARY}.{NAMESPACE}.svc.cluster.local" in "".join(lines)
    assert world.service()["metadata"]["uid"] == before["metadata"]["uid"]
    assert "delete horizontalpodautoscalers " + CANARY in world.changes()
    world.server.calls.clear()
    world.deploy(report=lines.append)
    assert lines[-1] == "version 2 is live: nothing to do"
    assert len(world.server.calls) <= 5 and world.changes() == []


def test_a_wrong_version_never_gets_a_request_and_the_predictor_is_not_touched(world):
    before, world.wrong = world.service(), {2}
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy()
    assert world.service()["spec"] == before["spec"]
    assert world.state() == FAILED
    assert written(world) == ["canary 0", "no canary"]


def test_a_version_that_fails_with_a_share_of_the_requests_never_gets_all(world):
    before = world.service()
    report = partial(spoil, world, "version 2 gets 50 % of the requests")
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy(report=report, smoke=replace(FEW, bake_seconds=0.1))
    assert written(world) == ["canary 0", "canary 10", "canary 50", "canary 0", "no canary"]
    assert world.service()["spec"] == before["spec"]
    assert world.state() == FAILED


def test_a_version_that_fails_in_the_pods_of_the_predictor_is_taken_back(world):
    def break_it(number, call):
        if call.verb == "patch" and short(call) == "predictor 2":
            world.wrong = {2}  # what its pods load from now on

    before, world.server.on_call = world.service(), break_it
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy()
    assert written(world) == [*STEPS, "predictor 1"]
    assert world.service()["spec"] == before["spec"]
    assert world.state() == FAILED


@pytest.mark.slow
def test_killed_between_two_steps_the_next_run_goes_on_with_the_next_one(world):
    def stop(number, call):
        if call.verb == "patch" and short(call) == "canary 50":
            wait_until(lambda: run)
            os.kill(run[0].pid, signal.SIGKILL)

    run = []
    world.server.on_call = stop
    run.append(world.deploy_elsewhere())
    run[0].join(60)
    world.server.on_call = lambda number, call: None
    world.server.calls.clear()
    world.deploy(lease_seconds=0.3)
    assert written(world) == STEPS[3:]
    assert world.state() == DONE


def test_the_requests_come_back_where_nothing_can_be_read(world):
    def fail():
        world.server.faults = [Fault("get", "inferenceservices", times=-1)]

    with pytest.raises(UserError, match="is left reverting"):
        world.deploy(report=at("gets 50 %", fail))
    assert written(world)[:4] == ["canary 0", "canary 10", "canary 50", "canary 0"]
    wait_until(lambda: world.versions_serving() == {1: 100})
    world.server.faults = []
    world.deploy(lease_seconds=0.3)
    assert world.state() == DONE


# Which way is taken


RIGHTS = {
    "right to routes": ["", "apps", "serving.kserve.io"],
    "right to Deployments": ["", "gateway.networking.k8s.io", "serving.kserve.io"],
}


@pytest.mark.parametrize("lacks", ["gateway", "route", "follower", "field", *RIGHTS, "transformer", "nothing"])
def test_without_all_that_shares_the_requests_the_first_way_is_taken(world, lacks):
    cluster, report = world.server.cluster, at("without shares of the requests", lambda: None)
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
    assert len(said) == (lacks in RIGHTS)
    assert all("httproutes" in line or "deployments" in line for line in said)


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
        empty.deploy(report=at("removing what only", stop), **given)
    assert empty.deploy(**given)["facts"]["mode"] == "Standard"
    empty.promote()
    empty.server.calls.clear()
    empty.deploy(**given)
    assert written(empty) == ["canary 0", "canary 30", *STEPS[3:]]


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


# What others do


def set_share(percent):
    return lambda one: one["spec"]["canary"][0].update(trafficPercent=percent)


def set_image(one):
    one["spec"]["canary"][0]["predictor"]["containers"][0]["image"] = "theirs:2"


def add_another(one):
    theirs = {"name": "theirs", "containers": [{"name": "kserve-container", "image": "theirs"}]}
    one["spec"]["canary"].append({"trafficPercent": 0, "predictor": theirs})


OTHERS = {
    "share": (set_share(30), "set trafficPercent in spec.canary of the InferenceService films to 30", []),
    "stopped": (set_share(0), "set trafficPercent in spec.canary of the InferenceService films to 0", []),
    "removed": (lambda one: one["spec"].pop("canary") and None, "somebody removed spec.canary", []),
    "image": (set_image, "somebody changed spec.canary", ["next"]),
    "another": (add_another, "somebody changed spec.canary", ["theirs"]),
}


@pytest.mark.parametrize("what", OTHERS if ALL else ["removed", "image", "another"])
def test_what_somebody_does_to_the_canary_between_two_steps_ends_the_rollout(world, what):
    write, told, left = OTHERS[what]
    report = at("gets 10 %", lambda: change(world, write))
    with pytest.raises(RolloutError, match=told):
        world.deploy(report=report, step_seconds=0.1)
    assert world.registry.deployment("production").state == "failed"
    assert not any("gets 50 %" in line for line in report.lines)
    wait_until(lambda: world.versions_serving() == {1: 100})
    canaries = world.service()["spec"].get("canary", [])
    assert [one["predictor"]["name"] for one in canaries] == left
    assert all(one["trafficPercent"] == 0 for one in canaries)  # nobody tested what is in it
    assert any("keeps a canary at trafficPercent: 0" in line for line in report.lines) == (left == ["next"])


def test_what_somebody_changes_in_the_predictor_is_not_overwritten(world):
    def change_theirs(one):
        one["spec"]["predictor"] |= {"timeout": 77}
        container(one)["image"] = "theirs:2"

    with pytest.raises(RolloutError, match=r"somebody changed the InferenceService films .*spec.predictor.containers"):
        world.deploy(report=at("gets 10 %", lambda: change(world, change_theirs)), step_seconds=0.1)
    assert container(world.service())["image"] == "theirs:2"
    assert world.service()["spec"]["predictor"]["timeout"] == 77
    assert "predictor 2" not in written(world) and world.state()["record"] == ("failed", 2)


@rarely
def test_fields_that_the_settings_do_not_give_stay(world):
    world.deploy(report=at("gets 10 %", lambda: change(world, lambda one: one["spec"]["predictor"].update(timeout=77))))
    assert world.service()["spec"]["predictor"]["timeout"] == 77
    assert world.state() == DONE


@rarely
def test_a_canary_that_somebody_wrote_too_is_removed_all_the_same(world):
    def write_too():
        canary = world.service()["spec"]["canary"]
        canary[0]["predictor"]["timeout"] = 77
        with world.server.client() as client:
            where = ("serving.kserve.io", "v1beta1", NAMESPACE, "inferenceservices", NAME)
            CustomObjectsApi(client).patch_namespaced_custom_object(*where, {"spec": {"canary": canary}})

    world.wrong = {2}
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy(report=at("asking it for texts", write_too))
    assert world.state() == FAILED


def test_a_deployment_of_others_with_the_name_of_the_canarys_is_left_alone(world):
    labels = {"app": "theirs"}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}
    world.server.cluster.add("Deployment", CANARY, spec=spec)
    with pytest.raises(RolloutError, match=f"there is a Deployment {CANARY}, which would be the one of the canary"):
        world.deploy(ready_seconds=0.2)
    assert written(world) == [] and world.server.cluster.store.find(DEPLOYMENTS, NAMESPACE, CANARY)


# KServe and the gateway


def test_a_canary_that_is_changed_in_place_serves_only_when_its_deployment_is_new(world):
    def stop():
        raise LeaseLostError("stopped")

    with pytest.raises(LeaseLostError):
        world.deploy(report=at("asking it for texts", stop))
    world.server.cluster.missing_images.add("nope:9")
    with pytest.raises(RolloutError, match="nope:9"):
        world.deploy(image="nope:9")
    assert written(world) == ["canary 0", "canary 0", "no canary"]
    assert world.state() == FAILED


def test_a_gateway_that_stands_still_is_waited_for_before_the_canary_is_removed(world):
    gateway = world.server.cluster.gateway
    with pytest.raises(RolloutError, match="has trafficPercent: 0, so it is not removed yet"):
        world.deploy(report=at("gets 10 %", lambda: setattr(gateway, "followed", False)))
    assert written(world) == ["canary 0", "canary 10", "canary 50", "canary 0"]
    assert world.server.cluster.store.find(DEPLOYMENTS, NAMESPACE, CANARY)  # requests still come to it
    gateway.followed = True
    for name in (NAME, f"{NAME}-predictor"):
        world.server.cluster.enqueue(0.0, "gateway", NAMESPACE, name)
    world.deploy(lease_seconds=0.3)
    assert world.state() == DONE


@rarely
def test_a_gateway_that_stands_still_before_the_first_share_leaves_nothing_behind(world):
    gateway = world.server.cluster.gateway
    with pytest.raises(RolloutError, match="the gateway has not taken over its HTTPRoute"):
        world.deploy(report=at("starting it beside", lambda: setattr(gateway, "followed", False)))
    assert world.state() == FAILED


def test_a_canary_whose_service_does_not_answer_gets_no_requests(world):
    cluster, real = world.server.cluster, world.server.cluster.choose
    cluster.choose = lambda namespace, name: None if name == CANARY else real(namespace, name)
    with pytest.raises(RolloutError, match=f"the Service {CANARY} does not answer at http://{CANARY}.default.svc"):
        world.deploy()
    assert written(world) == ["canary 0", "no canary"]
    assert world.state() == FAILED


def test_a_version_takes_the_place_of_one_whose_pods_broke_between_two_steps(world):
    cluster = world.server.cluster

    def break_the_old():
        world.broken = {1: "version 1 cannot be served"}
        for pod in cluster.store.list(PODS, NAMESPACE, f"app=isvc.{NAME}-predictor"):
            cluster.store.delete(PODS, NAMESPACE, pod["metadata"]["name"])
        wait_until(lambda: condition(world.service()["status"], "PredictorReady")["status"] == "False")

    report = at("gets 50 %", break_the_old)
    world.deploy(report=report)
    (said,) = [line for line in report.lines if f"{NAME} is not ready, so its pods are replaced at once" in line]
    assert "does not give the canary 100 %" in said
    assert world.state() == DONE


@rarely
def test_an_autoscaler_of_others_stays(world):
    kind = by_kind("HorizontalPodAutoscaler")
    scaled = {"scaleTargetRef": {"kind": "Deployment", "name": CANARY}, "minReplicas": 1, "maxReplicas": 1}
    world.server.cluster.add("HorizontalPodAutoscaler", CANARY, spec=scaled)
    world.deploy()
    assert world.server.cluster.store.find(kind, NAMESPACE, CANARY) and world.versions_serving() == {2: 100}


def test_pods_come_before_requests(empty, monkeypatch):
    """Two pods: KServe lets the autoscaler take as many away from the predictor as the canary has."""
    monkeypatch.setattr(kubernetes_workloads, "HPA_SECONDS", 100)  # so slow that it is waited for
    empty.deploy(min_replicas=2, max_replicas=3)
    empty.promote()
    empty.server.calls.clear()
    seen = {}

    def look(number, call):
        if call.verb != "patch" or call.name != NAME:
            return
        if short(call) == "canary 100":
            seen["before all"] = pods(empty, CANARY)
            shrink(empty)
        elif short(call) == "canary 0" and seen:
            seen["before the end"] = pods(empty, f"{NAME}-predictor")

    empty.server.on_call = look
    empty.deploy(min_replicas=2, max_replicas=3)
    assert seen == {"before all": 2, "before the end": 2}
    predictor = empty.service()["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 3)
    assert empty.state() == DONE


def pods(world, component):
    """How many pods of a Deployment are available."""
    return world.server.cluster.store.get(DEPLOYMENTS, NAMESPACE, component)["status"]["availableReplicas"]


def shrink(world):
    """Let the autoscaler of the predictor, whose pods have nothing to do, go down as far as it may."""
    least = world.server.cluster.store.get(by_kind("HorizontalPodAutoscaler"), NAMESPACE, f"{NAME}-predictor")["spec"]
    world.server.cluster.store.change(
        DEPLOYMENTS,
        NAMESPACE,
        f"{NAME}-predictor",
        lambda one: {**one, "spec": {**one["spec"], "replicas": least["minReplicas"]}},
    )


@rarely
def test_another_number_of_pods_is_rolled_out(empty):
    empty.deploy(min_replicas=3, max_replicas=3)
    empty.promote()
    empty.deploy(min_replicas=1, max_replicas=1)
    predictor = empty.service()["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (1, 1)
    assert empty.state() == DONE


@rarely
def test_an_autoscaler_that_may_not_be_removed_stays_and_is_told(world):
    allowed = {"apiGroups": ["", "apps", "serving.kserve.io", "gateway.networking.k8s.io"], "resources": ["*"]}
    world.server.rules, lines = [{**allowed, "verbs": ["*"]}], []
    world.deploy(report=lines.append)
    assert any(f"the autoscaler {CANARY} stays" in line for line in lines)
    assert world.versions_serving() == {2: 100}


def test_the_canary_has_an_address_beside_the_one_of_the_predictor():
    inside = "http://films-predictor.team.svc.cluster.local"
    assert address_beside(inside, "films") == f"http://{NEXT}-predictor.team.svc.cluster.local"
    assert address_beside(f"{inside}:8080", "films") == f"http://{NEXT}-predictor.team.svc.cluster.local:8080"
    assert address_beside("http://films-transformer.team.svc.cluster.local", "films") == ""
    assert address_beside("http://127.0.0.1:80", "films") == ""
