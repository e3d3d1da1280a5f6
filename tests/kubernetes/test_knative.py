"""Knative mode of the fake KServe, as its documents have it; nothing was recorded of it."""

import json
import urllib.request

import pytest

from tests.support.kubernetes_inference import inference_service


@pytest.fixture
def knative(server, api):
    """An InferenceService whose first revision serves."""
    server.cluster.knative, server.cluster.default_mode = True, "Knative"
    body = inference_service("kn")
    body["metadata"]["annotations"] = {"serving.kserve.io/enable-tag-routing": "true"}
    api.create(body)
    server.cluster.clock.advance(10)
    return api


def move(server, api, uri, percent):
    api.patch("kn", {"spec": {"predictor": {"canaryTrafficPercent": percent, "model": {"storageUri": uri}}}})
    server.cluster.clock.advance(15)
    return api.get("kn")["status"]


def served(url):
    with urllib.request.urlopen(f"{url}/v1/models/bert", timeout=10) as answer:
        return json.load(answer)["model_version_status"][0]["fingerprint"]


def answers(status):
    return {served(status["url"]) for _ in range(40)}


def revisions(status):
    predictor = status["components"]["predictor"]
    names = ("latestCreatedRevision", "latestReadyRevision", "latestRolledoutRevision", "previousRolledoutRevision")
    return [predictor.get(name, "").removeprefix("kn-predictor-") for name in names]


def test_a_new_revision_gets_its_part_then_all_and_0_goes_back(server, knative):
    status = knative.get("kn")["status"]
    assert revisions(status) == ["00001", "00001", "00001", ""]
    assert answers(status) == {"fingerprint-a"}
    status = move(server, knative, "pvc://models/b", 50)
    assert revisions(status) == ["00002", "00002", "00001", ""]
    assert answers(status) == {"fingerprint-a", "fingerprint-b"}
    status = move(server, knative, "pvc://models/b", None)
    assert revisions(status) == ["00002", "00002", "00002", "00001"]
    assert answers(status) == {"fingerprint-b"}
    status = move(server, knative, "pvc://models/b", 0)
    assert revisions(status) == ["00002", "00002", "00001", "00001"]
    assert answers(status) == {"fingerprint-a"}


def test_a_revision_without_traffic_is_asked_by_its_tag(server, knative):
    status = move(server, knative, "pvc://models/b", 0)
    assert answers(status) == {"fingerprint-a"}
    by_tag = {one["tag"]: one["url"] for one in status["components"]["predictor"]["traffic"]}
    assert [served(by_tag[tag]) for tag in ("latest", "prev")] == ["fingerprint-b", "fingerprint-a"]


def test_a_revision_that_never_gets_ready_gets_no_traffic(server, knative):
    server.cluster.missing_images.add("nope:9")
    patch = {"canaryTrafficPercent": 50, "model": {"image": "nope:9"}}
    knative.patch("kn", {"spec": {"predictor": patch}})
    server.cluster.clock.advance(30)
    status = knative.get("kn")["status"]
    assert revisions(status)[:2] == ["00002", "00001"]
    assert answers(status) == {"fingerprint-a"}
    (ready,) = [one["status"] for one in status["conditions"] if one["type"] == "Ready"]
    assert ready != "True"
