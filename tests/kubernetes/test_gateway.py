"""HTTPRoutes and the gateway of the fake cluster, as KServe's source has them; nothing was recorded of it."""

import json
import urllib.error
import urllib.request

import pytest

from tests.support.kubernetes_inference import NAMESPACE, inference_service
from tests.support.kubernetes_resources import SCHEMAS, by_kind

ROUTES, SCALERS = by_kind("HTTPRoute"), by_kind("HorizontalPodAutoscaler")
MODEL = inference_service("any", "pvc://models/b")["spec"]["predictor"]["model"]


@pytest.fixture
def gateway(server, api):
    """An InferenceService with two pods that serves, and the Gateway API."""
    server.cluster.gateway_api = True
    body = inference_service("gw")
    body["spec"]["predictor"] |= {"minReplicas": 2, "maxReplicas": 2}
    api.create(body)
    server.cluster.clock.advance(40)
    return api


def give(server, api, percent, seconds=15.0, **predictor):
    predictor = {"name": "v2", "model": MODEL, **predictor}
    api.patch("gw", {"spec": {"canary": [{"trafficPercent": percent, "predictor": predictor}]}})
    server.cluster.clock.advance(seconds)


def backends(server, name="gw"):
    route = server.cluster.store.get(ROUTES, NAMESPACE, name)
    return [(one["name"], one.get("weight")) for one in route["spec"]["rules"][0]["backendRefs"]]


def least(server, name):
    return server.cluster.store.get(SCALERS, NAMESPACE, name)["spec"]["minReplicas"]


def served(url):
    with urllib.request.urlopen(f"{url}/v1/models/bert", timeout=10) as answer:
        return json.load(answer)["model_version_status"][0]["fingerprint"]


def test_a_canary_has_its_weight_in_both_routes_once_it_is_ready(server, gateway):
    assert backends(server) == backends(server, "gw-predictor") == [("gw-predictor", None)]
    give(server, gateway, 30, seconds=1)
    assert backends(server) == [("gw-predictor", 100)]
    server.cluster.clock.advance(15)
    assert backends(server) == backends(server, "gw-predictor") == [("gw-predictor", 70), ("gw-v2-predictor", 30)]
    gateway.patch("gw", {"spec": {"canary": None}})
    server.cluster.clock.advance(5)
    assert backends(server) == [("gw-predictor", None)]


def test_of_kserve_0_20_0_a_route_has_no_weights(server, gateway):
    server.cluster.gateway.weights = False
    give(server, gateway, 30)
    assert gateway.get("gw")["status"]["canaryStatuses"][0]["ready"]
    assert backends(server) == [("gw-predictor", None)]


def test_the_service_of_a_canary_is_deleted_before_its_share_so_that_requests_fail(server, gateway):
    give(server, gateway, 100)
    url = gateway.get("gw")["status"]["url"]
    assert served(url) == "fingerprint-b"
    gateway.patch("gw", {"spec": {"canary": None}})
    server.cluster.clock.advance(0.12)
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        served(url)
    server.cluster.clock.advance(3)
    assert served(url) == "fingerprint-a"


def test_the_status_tells_of_a_canary_after_the_route_does(server, gateway):
    told = []

    def look(event):
        if event.resource.kind == "InferenceService":
            ready = [one["ready"] for one in event.object.get("status", {}).get("canaryStatuses", [])]
            told.append((ready, len(backends(server))))

    server.cluster.store.listeners.append(look)
    give(server, gateway, 0)
    assert ([True], 2) in told and ([True], 1) not in told


def test_the_autoscaler_of_the_predictor_may_go_down_by_the_pods_of_a_canary_that_is_ready(server, gateway):
    give(server, gateway, 0)
    assert (least(server, "gw-predictor"), least(server, "gw-v2-predictor")) == (2, 1)
    give(server, gateway, 60)
    assert (least(server, "gw-predictor"), least(server, "gw-v2-predictor")) == (1, 2)
    give(server, gateway, 60, minReplicas=1)
    assert (least(server, "gw-predictor"), least(server, "gw-v2-predictor")) == (1, 1)


def test_a_canary_has_the_fields_of_the_predictor(server, gateway):
    gateway.patch("gw", {"spec": {"predictor": {"serviceAccountName": "models"}}})
    give(server, gateway, 0)
    deployment = server.cluster.store.get(by_kind("Deployment"), NAMESPACE, "gw-v2-predictor")
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == "models"


def test_a_route_stays_as_it_is_while_the_predictor_is_not_ready(server, gateway):
    give(server, gateway, 30)
    server.cluster.missing_images.add("kfp-bert-components/serve:1")
    for pod in server.cluster.store.list(by_kind("Pod"), NAMESPACE, "app=isvc.gw-predictor"):
        server.cluster.store.delete(by_kind("Pod"), NAMESPACE, pod["metadata"]["name"])
    server.cluster.clock.advance(30)
    give(server, gateway, 60)
    assert backends(server) == [("gw-predictor", 70), ("gw-v2-predictor", 30)]


def test_the_gateway_says_which_generation_it_has_taken_over(server, gateway):
    server.cluster.gateway.followed = False
    give(server, gateway, 30)
    route = server.cluster.store.get(ROUTES, NAMESPACE, "gw")
    seen = [one["observedGeneration"] for one in route["status"]["parents"][0]["conditions"]]
    assert seen and all(one < route["metadata"]["generation"] for one in seen)


@pytest.mark.parametrize("there", [True, False])
def test_the_api_says_whether_inference_services_have_canaries(server, there):
    server.cluster.canaries = there
    with urllib.request.urlopen(server.url + SCHEMAS, timeout=10) as answer:
        (schema,) = json.load(answer)["components"]["schemas"].values()
    assert ("canary" in schema["properties"]["spec"]["properties"]) == there
