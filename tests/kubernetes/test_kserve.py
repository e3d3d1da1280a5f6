"""KServe's controller in the fake cluster: what a client sees of it."""

import json
import urllib.error
import urllib.request

import kubernetes
import pytest

from tests.support.kubernetes_inference import NAMESPACE, InferenceServices, inference_service
from tests.support.kubernetes_predictors import Model, wrong
from tests.support.tiny_engine import TinyEngine


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


def test_a_deployment_scaled_by_hand_is_scaled_back_and_observed_generation_runs_ahead(server, api):
    api.create(inference_service("scaled"))
    server.cluster.clock.advance(10)
    with server.client() as client:
        apps = kubernetes.client.AppsV1Api(client)
        apps.patch_namespaced_deployment("scaled-predictor", NAMESPACE, {"spec": {"replicas": 2}})
        server.cluster.clock.advance(30)
        assert apps.read_namespaced_deployment("scaled-predictor", NAMESPACE).spec.replicas == 1
    isvc = api.get("scaled")
    assert (isvc["metadata"]["generation"], isvc["status"]["observedGeneration"]) == (1, 3)


def endpoints(server, name):
    """The pods behind a Service: whether each is ready, and which version it has."""
    with server.client() as client:
        label = f"kubernetes.io/service-name={name}"
        slices = kubernetes.client.DiscoveryV1Api(client).list_namespaced_endpoint_slice(
            NAMESPACE, label_selector=label
        )
    found = [(one.endpoints[0], one.ports[0].port) for one in slices.items]
    return {served(f"http://{each.addresses[0]}:{port}"): each.conditions.ready for each, port in found}


def test_the_endpoints_of_a_service_are_its_pods(server, api):
    server.cluster.add("Service", "without-selector", NAMESPACE, spec={"ports": [{"port": 80}]})
    api.create(inference_service("ends"))
    server.cluster.clock.advance(10)
    assert endpoints(server, "ends-predictor") == {"fingerprint-a": True}
    server.cluster.models["pvc://models/b"].load_seconds = 5
    api.move("ends", "pvc://models/b")
    server.cluster.clock.advance(3)
    assert endpoints(server, "ends-predictor") == {"fingerprint-a": True, None: False}
    server.cluster.clock.advance(10)
    assert endpoints(server, "ends-predictor") == {"fingerprint-b": True}
    api.delete("ends")
    server.cluster.clock.advance(10)
    assert endpoints(server, "ends-predictor") == {}


def test_a_name_that_is_too_long_is_accepted_and_fails(server, api):
    name = "a" * 41  # with -predictor- and the namespace 64 letters
    api.create(inference_service(name))
    server.cluster.clock.advance(10)
    assert condition(api.get(name), "Ready")["reason"] == "ReconcileFailed"
    api.create(inference_service(name[1:]))
    server.cluster.clock.advance(10)
    assert condition(api.get(name[1:]), "Ready")["status"] == "True"


def canary(weight):
    model = inference_service("any", "pvc://models/b")["spec"]["predictor"]["model"]
    return {"spec": {"canary": [{"trafficPercent": weight, "predictor": {"name": "v2", "model": model}}]}}


def test_a_canary_is_asked_at_its_own_service_and_gets_its_part_at_the_gateway(server, api):
    server.cluster.gateway_api = True
    api.create(inference_service("can"))
    server.cluster.clock.advance(10)
    api.patch("can", canary(0))
    server.cluster.clock.advance(10)
    status = api.get("can")["status"]
    with server.client() as client:
        service = kubernetes.client.CoreV1Api(client).read_namespaced_service("can-v2-predictor", NAMESPACE)
    assert served(service.metadata.annotations["address"]) == "fingerprint-b"
    assert {served(status["url"]) for _ in range(20)} == {"fingerprint-a"}
    api.patch("can", canary(50))
    server.cluster.clock.advance(2)
    assert {served(status["url"]) for _ in range(40)} == {"fingerprint-a", "fingerprint-b"}
    assert {served(status["address"]["url"]) for _ in range(20)} == {"fingerprint-a"}


def test_without_the_gateway_api_nothing_splits_traffic(server, api):
    api.create(inference_service("can"))
    server.cluster.clock.advance(10)
    api.patch("can", canary(50))
    server.cluster.clock.advance(10)
    status = api.get("can")["status"]
    assert status["canaryStatuses"][0]["ready"]
    assert {served(status["url"]) for _ in range(20)} == {"fingerprint-a"}


def test_autoscalers_of_removed_canaries_stay_behind(server, api):
    api.create(inference_service("can"))
    api.patch("can", canary(0))
    server.cluster.clock.advance(10)
    api.patch("can", {"spec": {"canary": None}})
    server.cluster.clock.advance(10)
    with server.client() as client:
        autoscaling, apps = kubernetes.client.AutoscalingV2Api(client), kubernetes.client.AppsV1Api(client)
        autoscalers = autoscaling.list_namespaced_horizontal_pod_autoscaler(NAMESPACE).items
        assert [one.metadata.name for one in autoscalers] == ["can-predictor", "can-v2-predictor"]
        assert [one.metadata.name for one in apps.list_namespaced_deployment(NAMESPACE).items] == ["can-predictor"]


def test_our_server_waits_for_a_model_or_ends_with_the_reason(server, api):
    api.create(inference_service("waits", "pvc://models/nothere"))
    server.cluster.clock.advance(20)
    (pod,) = pods(server)
    assert pod.status.container_statuses[0].state.running
    api.delete("waits")
    server.cluster.clock.advance(10)
    server.cluster.ends_without_model = True
    api.create(inference_service("ends", "pvc://models/nothere"))
    server.cluster.clock.advance(20)
    (pod,) = pods(server)
    status = pod.status.container_statuses[0]
    assert status.state.waiting.reason == "CrashLoopBackOff"
    assert "no model" in status.last_state.terminated.message


def test_a_roll_loses_no_request(quick_server):
    with quick_server.client() as client:
        api = InferenceServices(kubernetes.client.CustomObjectsApi(client))
        api.create(inference_service("roll"))
        until(lambda: any((one["type"], one["status"]) == ("Ready", "True") for one in conditions(api.get("roll"))))
        url = api.get("roll")["status"]["address"]["url"]
        api.move("roll", "pvc://models/b")
        answers = []
        until(lambda: answers.append(served(url)) or answers[-5:] == ["fingerprint-b"] * 5)
        assert set(answers) == {"fingerprint-a", "fingerprint-b"}


def until(done):
    for _ in range(1000):
        if done():
            return
    raise AssertionError("it does not come")


def test_a_predictor_answers_as_our_own_server_does(server, api, tmp_path, monkeypatch):
    pytest.importorskip("prometheus_client", reason="our server needs the extra serve")
    from tests.support.served_app import served_app

    monkeypatch.setattr("kfp_bert_components.serving.manager.load_engine", lambda version, *_: TinyEngine())
    (tmp_path / "saved_model.pb").write_bytes(b"tiny")
    api.create(inference_service("like"))
    server.cluster.clock.advance(10)
    address = api.get("like")["status"]["address"]["url"]
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["LOUD"]}
    requests = [
        ("/healthz", None),
        ("/v1/models/bert", None),
        ("/v1/models/bert:predict", {"instances": [{"text": "LOUD"}]}),
        ("/v1/models/bert/versions/1:predict", {"instances": [{"text": "LOUD"}]}),
        ("/v2/models/bert/infer", {"inputs": [tensor]}),
        ("/v2/models/bert/ready", None),
        ("/v2/health/ready", None),
        ("/v1/models/other", None),
    ]
    with served_app(tmp_path) as own:
        for path, body in requests:
            assert form(address + path, body) == form(own + path, body), path


def form(url, body):
    """Status of an answer, and the names and types in it."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, shape(json.load(answer))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, shape(json.load(error))


def shape(value):
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__
