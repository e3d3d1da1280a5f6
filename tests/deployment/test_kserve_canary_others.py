"""What others, KServe and the gateway do while a canary gets shares of the requests."""

import pytest
from kubernetes.client import CustomObjectsApi

from kfp_bert_components.deployment import LeaseLostError, RolloutError
from kfp_bert_components.kserve.canaries import address_beside
from kfp_bert_components.kserve.witnesses import condition
from tests.support import kubernetes_workloads
from tests.support.kserve_canaries import At, change, short, written
from tests.support.kserve_rollouts import CANARY, NAME, NAMESPACE, NEXT, PODS, container
from tests.support.kserve_shares import ALL, DONE, FAILED, rarely, wait_until
from tests.support.kserve_worlds import empty, world
from tests.support.kubernetes_resources import by_kind
from tests.support.kubernetes_store import DEPLOYMENTS

__all__ = ["empty", "world"]


@pytest.fixture
def mode():
    return "Gateway"


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
    report = At("gets 10 %", lambda: change(world, write))
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
        world.deploy(report=At("gets 10 %", lambda: change(world, change_theirs)), step_seconds=0.1)
    assert container(world.service())["image"] == "theirs:2"
    assert world.service()["spec"]["predictor"]["timeout"] == 77
    assert "predictor 2" not in written(world) and world.state()["record"] == ("failed", 2)


@rarely
def test_fields_that_the_settings_do_not_give_stay(world):
    world.deploy(report=At("gets 10 %", lambda: change(world, lambda one: one["spec"]["predictor"].update(timeout=77))))
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
        world.deploy(report=At("asking it for texts", write_too))
    assert world.state() == FAILED


def test_a_deployment_of_others_with_the_name_of_the_canarys_is_left_alone(world):
    labels = {"app": "theirs"}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}
    world.server.cluster.add("Deployment", CANARY, spec=spec)
    with pytest.raises(RolloutError, match=f"there is a Deployment {CANARY}, .* not KServe's: delete it, or give anot"):
        world.deploy(ready_seconds=1000)  # it is not waited for
    assert written(world) == [] and world.server.cluster.store.find(DEPLOYMENTS, NAMESPACE, CANARY)


# KServe and the gateway


def test_a_canary_that_is_changed_in_place_serves_only_when_its_deployment_is_new(world):
    def stop():
        raise LeaseLostError("stopped")

    with pytest.raises(LeaseLostError):
        world.deploy(report=At("asking it for texts", stop))
    world.server.cluster.missing_images.add("nope:9")
    with pytest.raises(RolloutError, match="nope:9"):
        world.deploy(image="nope:9")
    assert written(world) == ["canary 0", "canary 0", "no canary"]
    assert world.state() == FAILED


def test_of_a_run_that_was_killed_while_its_canary_lost_its_share_the_next_one_takes_over(world):
    def stop():
        raise LeaseLostError("killed")

    with pytest.raises(LeaseLostError):
        world.deploy(report=At("gets 50 %", stop))
    world.server.cluster.gateway.followed = False
    with pytest.raises(LeaseLostError):
        world.deploy(image="other:2", report=At("the gateway sends requests", stop))
    assert written(world)[-1] == "canary 0"
    world.server.cluster.gateway.followed = True
    world.deploy()
    assert world.state() == DONE


def test_a_gateway_that_stands_still_is_waited_for_before_the_canary_is_removed(world):
    gateway = world.server.cluster.gateway
    with pytest.raises(RolloutError, match="has trafficPercent: 0, so it is not removed yet"):
        world.deploy(report=At("gets 10 %", lambda: setattr(gateway, "followed", False)), ready_seconds=1)
    assert written(world) == ["canary 0", "canary 10", "canary 50", "canary 0"]
    assert world.server.cluster.store.find(DEPLOYMENTS, NAMESPACE, CANARY)  # requests still come to it
    gateway.followed = True
    for name in (NAME, f"{NAME}-predictor"):
        world.server.cluster.enqueue(0.0, "gateway", NAMESPACE, name)
    world.deploy(lease_seconds=0.3)
    assert world.state() == DONE


def slow_gateway(world, seconds):
    """Let the gateway take an HTTPRoute over so late, and its proxies follow later still."""
    cluster, real = world.server.cluster, world.server.cluster.gateway.accept
    cluster.gateway.accept = lambda *where: cluster.clock.after(seconds, lambda: real(*where))
    cluster.seconds["proxies"] = 4.0


def test_a_gateway_that_is_late_is_waited_for(world):
    slow_gateway(world, 60.0)  # 0.3 s here
    lines = At("gets 100 %", world.promote)
    world.deploy(report=lines, traffic_steps=(50, 100), stuck_seconds=0.2)
    assert any("the gateway has not taken over its HTTPRoute as it is yet" in line for line in lines.lines)
    assert any(f"the gateway sends requests to {CANARY}" in line for line in lines.lines)
    assert lines.lines.count("version 3 gets 50 % of the requests") == 1
    assert world.state() == {**DONE, "serving": {3: 100}, "record": ("live", 3)}


def test_pods_to_which_requests_come_get_no_other_settings(world):
    """The run is killed at 50 %; the next one has another image, and the gateway is slow."""

    def stop():
        raise LeaseLostError("stopped")

    with pytest.raises(LeaseLostError):
        world.deploy(report=At("gets 50 %", stop))
    slow_gateway(world, 40.0)
    shares = []

    def look(number, call):
        if call.verb == "patch" and "other:2" in str(call.body.get("spec", {}).get("canary")):
            shares.append(dict(world.server.cluster.gateway.backends(NAMESPACE, NAME))[CANARY])

    world.server.on_call = look
    world.deploy(image="other:2", lease_seconds=0.3, poll_seconds=0.02)
    assert shares[0] == 0 and world.state() == DONE


@pytest.mark.parametrize("percent", [30, 100])
def test_a_canary_that_somebody_gives_a_share_while_it_is_tested_loses_it_before_it_is_removed(world, percent):
    shares = []

    def backends():
        return dict(world.server.cluster.gateway.backends(NAMESPACE, NAME)).get(CANARY)

    def give():
        change(world, set_share(percent))
        wait_until(lambda: backends() == percent)

    def look(number, call):
        if call.verb == "patch" and short(call) == "no canary":
            shares.append(backends())

    slow_gateway(world, 0.0)
    world.server.on_call = look
    with pytest.raises(RolloutError, match=f"to {percent} during the rollout"):
        world.deploy(report=At("asking it for texts", give), poll_seconds=0.02)
    assert written(world) == ["canary 0", "canary 0", "no canary"]
    assert shares == [0] and world.state() == FAILED


def test_a_controller_that_does_not_delete_the_pods_of_the_canary_is_told(world):
    def stop(event):  # as soon as the canary is removed, before the controller sees it
        one = event.object
        if one["kind"] == "InferenceService" and "canary 100" in written(world) and "canary" not in one["spec"]:
            world.server.cluster.controller = False

    world.server.cluster.store.listeners.append(stop)
    lines = []
    with pytest.raises(RolloutError, match=f"KServe has not deleted the Deployment {CANARY}.* does its controller run"):
        world.deploy(report=lines.append, ready_seconds=0.5)
    assert any(f"s: KServe has not deleted the Deployment {CANARY}" in line for line in lines)


@rarely
def test_a_gateway_that_stands_still_before_the_first_share_leaves_nothing_behind(world):
    gateway = world.server.cluster.gateway
    with pytest.raises(RolloutError, match="the gateway has not taken over its HTTPRoute"):
        world.deploy(report=At("starting it beside", lambda: setattr(gateway, "followed", False)), ready_seconds=1)
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

    report = At("gets 50 %", break_the_old)
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


def test_a_predictor_that_breaks_while_the_canary_starts_is_replaced_after_the_test_and_that_is_said(world):
    def break_the_old():
        world.broken = {1: "version 1 cannot be served"}
        for pod in world.server.cluster.store.list(PODS, NAMESPACE, f"app=isvc.{NAME}-predictor"):
            world.server.cluster.store.delete(PODS, NAMESPACE, pod["metadata"]["name"])
        wait_until(lambda: condition(world.service()["status"], "PredictorReady")["status"] == "False")

    report = At("starting it beside", break_the_old)
    world.deploy(report=report, traffic_steps=(50, 100))
    assert f"{NAME} is not ready, so KServe leaves its HTTPRoute as it is: its pods are replaced" in "".join(
        report.lines
    )
    assert not any("its canary, which is ready" in line for line in report.lines)
    assert written(world) == ["canary 0", "predictor 2", "no canary"] and world.state() == DONE


def test_without_the_right_to_deployments_a_canary_is_not_waited_for(world):
    def stop():
        raise LeaseLostError("stopped")

    with pytest.raises(LeaseLostError):
        world.deploy(report=At("asking it for texts", stop))
    groups = ["", "gateway.networking.k8s.io", "autoscaling", "serving.kserve.io"]
    world.server.rules = [{"apiGroups": groups, "resources": ["*"], "verbs": ["*"]}]
    with pytest.raises(RolloutError, match=f"only the Deployment {CANARY} tells .* the right to get deployments"):
        world.deploy(ready_seconds=3, lease_seconds=0.3, stuck_seconds=3)
    assert world.state() == FAILED


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


def scale(world, number):
    """Let the autoscaler of the predictor have started so many pods, for the load that it has."""
    count = {"replicas": number}
    store = world.server.cluster.store
    store.change(DEPLOYMENTS, NAMESPACE, f"{NAME}-predictor", lambda one: {**one, "spec": {**one["spec"], **count}})
    wait_until(lambda: pods(world, f"{NAME}-predictor") == number)


def test_as_many_pods_as_the_autoscaler_had_started_get_the_requests(empty):
    empty.deploy(max_replicas=8)
    empty.promote()
    scale(empty, 4)
    empty.server.calls.clear()
    seen = []

    def look(number, call):
        if call.verb == "patch" and call.name == NAME and call.body:
            seen.append((short(call), pods(empty, f"{NAME}-predictor"), pods(empty, CANARY)))

    empty.server.on_call = look
    empty.deploy(max_replicas=8)
    assert [of_canary for what, _, of_canary in seen if what == "canary 100"][-1] == 4
    assert [of_predictor for what, of_predictor, _ in seen if what == "canary 0"][-1] >= 4
    predictor = empty.service()["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (1, 8)
    assert empty.state() == DONE


def test_the_predictor_gets_its_pods_back_before_the_requests(empty, monkeypatch):
    monkeypatch.setattr(kubernetes_workloads, "HPA_SECONDS", 5)
    empty.deploy(min_replicas=3, max_replicas=3)
    empty.promote()
    empty.server.calls.clear()
    seen = []

    def look(number, call):
        if call.verb == "patch" and call.name == NAME and call.body and short(call) == "canary 0":
            seen.append(pods(empty, f"{NAME}-predictor"))

    def shrink_and_fail():
        scale(empty, 1)
        change(empty, lambda one: one["spec"]["canary"][0].update(trafficPercent=90))

    before, empty.server.on_call = empty.service()["spec"], look
    with pytest.raises(RolloutError, match="somebody set trafficPercent"):
        empty.deploy(min_replicas=3, max_replicas=3, stuck_seconds=5.0, report=At("gets 100 %", shrink_and_fail))
    assert seen[-1] == 3
    assert empty.service()["spec"] == before and empty.state() == FAILED


def test_a_predictor_that_may_have_no_pods_gives_its_canary_one(empty):
    empty.deploy()
    change(empty, lambda one: one["spec"]["predictor"].update(minReplicas=0))
    empty.promote()
    with pytest.raises(RolloutError, match="somebody set trafficPercent"):
        empty.deploy(report=At("gets 50 %", lambda: change(empty, set_share(30))), step_seconds=0.1)
    assert empty.service()["spec"]["predictor"]["minReplicas"] == 0
    empty.deploy()
    assert empty.service()["spec"]["predictor"]["minReplicas"] == 1 and empty.state() == DONE


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
