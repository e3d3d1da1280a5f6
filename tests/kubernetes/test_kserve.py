"""KServe's controller in the fake cluster: what a client sees of it."""

import json
import urllib.error
import urllib.request

import kubernetes
import pytest

from tests.support.kubernetes_inference import NAMESPACE, InferenceServices, inference_service
from tests.support.kubernetes_predictors import Model, wrong


def conditions(isvc):
    return isvc.get("status", {}).get("conditions", [])


def condition(isvc, kind):
    return next(one for one in conditions(isvc) if one["type"] == kind)


def ask(url, text="LOUD"):
    body = json.dumps({"instances": [text]}).encode()
    request = urllib.request.Request(f"{url}/v1/models/bert:predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["predictions"][0]["label"]


def served(url):
    with urllib.request.urlopen(f"{url}/v1/models/bert", timeout=10) as answer:
        return json.load(answer)["model_version_status"][0].get("fingerprint")


def pods(server):
    return kubernetes.client.CoreV1Api(server.client()).list_namespaced_pod(NAMESPACE).items


def test_a_good_one_is_served_at_its_address_and_at_its_pods(server, api):
    api.create(inference_service("a-good"))
    server.cluster.clock.advance(10)
    isvc = api.get("a-good")
    assert condition(isvc, "Ready")["status"] == "True"
    assert isvc["status"]["modelStatus"]["transitionStatus"] == "UpToDate"
    assert ask(isvc["status"]["address"]["url"]) == "shout"
    (pod,) = pods(server)
    assert served(f"http://{pod.status.pod_ip}:{pod.spec.containers[0].ports[0].container_port}") == "fingerprint-a"


def test_a_roll_keeps_the_old_pod_until_the_new_one_is_ready(server, api):
    api.create(inference_service("b-roll"))
    server.cluster.clock.advance(10)
    url = api.get("b-roll")["status"]["address"]["url"]
    api.move("b-roll", "pvc://models/b")
    server.cluster.clock.advance(3)
    assert served(url) == "fingerprint-a"
    assert condition(api.get("b-roll"), "Ready")["status"] == "True"
    server.cluster.clock.advance(10)
    assert served(url) == "fingerprint-b"
    assert len(pods(server)) == 1


def test_a_bad_image_leaves_the_old_one_serving(server, api):
    server.cluster.missing_images.add("nope:9")
    api.create(inference_service("b2"))
    server.cluster.clock.advance(10)
    url = api.get("b2")["status"]["address"]["url"]
    api.move("b2", "pvc://models/b", image="nope:9")
    server.cluster.clock.advance(300)
    assert condition(api.get("b2"), "Ready")["status"] == "True"
    server.cluster.clock.advance(310)
    assert condition(api.get("b2"), "Ready")["reason"] == "ProgressDeadlineExceeded"
    assert served(url) == "fingerprint-a"


def test_a_deleted_one_is_gone_a_moment_later_with_all_that_it_had(server, api):
    api.create(inference_service("gone"))
    server.cluster.clock.advance(10)
    url = api.get("gone")["status"]["address"]["url"]
    assert api.delete("gone")["metadata"]["deletionTimestamp"]
    server.cluster.clock.advance(6)
    with pytest.raises(kubernetes.client.ApiException, match="not found"):
        api.get("gone")
    assert not pods(server)
    with pytest.raises(urllib.error.URLError):
        ask(url)


@pytest.mark.parametrize(("model", "answer"), [(Model(predict=wrong), "calm"), (Model(status=500), None)])
def test_a_model_answers_as_the_test_wants(server, api, model, answer):
    server.cluster.models["pvc://models/odd"] = model
    api.create(inference_service("odd", "pvc://models/odd"))
    server.cluster.clock.advance(10)
    url = api.get("odd")["status"]["address"]["url"]
    if answer:
        assert ask(url) == answer
    else:
        with pytest.raises(urllib.error.HTTPError, match="500"):
            ask(url)


def test_the_clock_runs_by_itself_faster_than_on_the_wall(quick_server):
    with quick_server.client() as client:
        api = InferenceServices(kubernetes.client.CustomObjectsApi(client))
        api.create(inference_service("quick"))
        watch = kubernetes.watch.Watch()
        for event in watch.stream(api.list, timeout_seconds=10):
            if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions(event["object"])):
                watch.stop()
        assert ask(api.get("quick")["status"]["address"]["url"]) == "shout"
