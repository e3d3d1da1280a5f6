"""The fake API answers the real client as a real API server was seen to (recordings j-*, z-rbac)."""

import json
import socket
from pathlib import Path

import kubernetes
import pytest
import urllib3
from kubernetes.client import ApiException

from tests.support.kubernetes_inference import NAMESPACE, WHERE, inference_service
from tests.support.kubernetes_schema import inference_service_schema, read_definition
from tests.support.kubernetes_server import Fault

CRD = Path(__file__).parents[3] / "shared" / "data" / "kserve" / "inferenceservices.crd.yaml"
RULES = [{"apiGroups": ["serving.kserve.io"], "resources": ["inferenceservices"]}]
RULES[0]["verbs"] = ["create", "get", "patch", "watch", "delete"]
MODIFIED = (
    'Operation cannot be fulfilled on inferenceservices.serving.kserve.io "a": the object has been modified; please '
    "apply your changes to the latest version and try again"
)
WEBHOOK = 'admission webhook "inferenceservice.kserve-webhook-server.validator" denied the request: '


def refused(call, *arguments, **settings):
    """Status, reason and message of a call that must fail."""
    with pytest.raises(ApiException) as raised:
        call(*arguments, **settings)
    body = json.loads(raised.value.body)
    assert body["code"] == raised.value.status
    return raised.value.status, body["reason"], body["message"]


def version(one):
    return one["metadata"]["resourceVersion"]


@pytest.mark.parametrize("sent", [b"", b'{"apiVersion": "serving.kserve.io/v1beta1", '])
def test_a_request_whose_client_was_killed_within_its_body_does_nothing(server, sent):
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices/a?fieldManager=x"
    kind = "Content-Type: application/apply-patch+yaml"
    head = f"PATCH {path} HTTP/1.1\r\nHost: x\r\n{kind}\r\nContent-Length: 500\r\n\r\n"
    address = urllib3.util.parse_url(server.url)
    with socket.create_connection((address.host, address.port), 10) as connection:
        connection.sendall(head.encode() + sent)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert server.calls == []


def test_a_change_of_an_old_version_is_a_conflict(api):
    first = api.create(inference_service("a"))
    api.patch("a", {"metadata": {"labels": {"x": "1"}}})
    assert refused(api.replace, "a", first) == (409, "Conflict", MODIFIED)
    applied = inference_service("a")
    applied["metadata"]["resourceVersion"] = version(first)
    assert refused(api.apply, applied, "ours", force=True) == (409, "Conflict", MODIFIED)
    stale = {"metadata": {"resourceVersion": version(first), "labels": {"x": "2"}}}
    assert refused(api.patch, "a", stale) == (409, "Conflict", MODIFIED)
    message = 'inferenceservices.serving.kserve.io "a" already exists'
    assert refused(api.create, inference_service("a")) == (409, "AlreadyExists", message)


def test_a_change_of_the_spec_makes_a_generation_and_no_change_makes_no_version(api):
    first = api.create(inference_service("a"))
    assert first["metadata"]["generation"] == 1
    assert api.patch("a", {"metadata": {"labels": {"x": "1"}}})["metadata"]["generation"] == 1
    moved = api.move("a", "pvc://models/b")
    assert moved["metadata"]["generation"] == 2
    assert version(api.move("a", "pvc://models/b")) == version(moved)


def test_the_webhook_adds_what_nobody_manages(api):
    made = api.apply(inference_service("a"), "our-client")
    assert made["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    assert made["spec"]["predictor"]["model"]["name"] == ""
    (entry,) = made["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("our-client", "Apply")
    assert "f:name" not in entry["fieldsV1"]["f:spec"]["f:predictor"]["f:model"]
    assert version(api.apply(inference_service("a"), "our-client")) == version(made)


def test_apply_keeps_the_fields_of_managers_apart(api):
    api.apply(inference_service("a"), "our-client")
    other = inference_service("a", "pvc://models/b")
    status, reason, message = refused(api.apply, other, "other")
    path = ".spec.predictor.model.storageUri"
    assert (status, reason) == (409, "Conflict")
    assert message == f'Apply failed with 1 conflict: conflict with "our-client": {path}'
    only = {**other, "spec": {"predictor": {"canaryTrafficPercent": 5}}}
    api.apply(only, "other")
    again = api.apply(inference_service("a", resources=None), "our-client")  # the resources were ours
    assert again["spec"]["predictor"]["canaryTrafficPercent"] == 5
    assert again["spec"]["predictor"]["model"]["resources"] == {}
    forced = api.apply(other, "other", force=True)
    assert forced["spec"]["predictor"]["model"]["storageUri"] == "pvc://models/b"


def test_an_apply_can_say_that_an_object_is_not_there_yet_or_is_still_the_same(api):
    absent, other = inference_service("a"), inference_service("a")
    absent["metadata"]["resourceVersion"] = "1"
    made = api.apply(absent, "ours")
    assert refused(api.apply, absent, "ours", force=True) == (409, "Conflict", MODIFIED)
    other["metadata"]["uid"] = "another"
    assert refused(api.apply, other, "ours", force=True)[:2] == (422, "Invalid")
    other["metadata"]["uid"] = made["metadata"]["uid"]
    assert version(api.apply(other, "ours")) == version(made)
    other["metadata"]["name"] = "b"
    assert refused(api.apply, other, "ours", force=True)[:2] == (409, "Conflict")


def test_quantities_are_written_in_one_form(api):
    """As the recordings f-unsched and b2-unsched have it, whose 1000 CPUs are "1k"."""
    amounts = {"cpu": "1000", "memory": "1024Mi"}
    made = api.create(inference_service("a", resources={"requests": amounts, "limits": amounts}))
    assert made["spec"]["predictor"]["model"]["resources"]["limits"] == {"cpu": "1k", "memory": "1Gi"}
    less = {"requests": {"cpu": "0.5", "memory": "1.5Gi"}, "limits": {"cpu": "1000m", "memory": "2Gi"}}
    assert api.move("a", "pvc://models/a", resources=less)["spec"]["predictor"]["model"]["resources"] == {
        "requests": {"cpu": "500m", "memory": "1536Mi"},
        "limits": {"cpu": "1", "memory": "2Gi"},
    }


def test_a_merge_patch_takes_the_fields_that_it_changes(api):
    api.apply(inference_service("a"), "our-client")
    api.patch("a", {"spec": {"predictor": {"model": {"storageUri": "pvc://models/b"}}}}, field_manager="somebody")
    message = refused(api.apply, inference_service("a"), "our-client")[2]
    assert 'conflict with "somebody"' in message


def test_a_dry_run_answers_and_changes_nothing(server, api):
    assert api.create(inference_service("a"), dry_run="All")["spec"]["predictor"]["model"]["name"] == ""
    assert api.list()["items"] == []
    api.create(inference_service("a"))
    assert api.apply(inference_service("a", "pvc://models/b"), "x", force=True, dry_run=True)["spec"]["predictor"][
        "model"
    ]["storageUri"].endswith("/b")
    assert api.get("a")["spec"]["predictor"]["model"]["storageUri"].endswith("/a")
    api.delete("a", dry_run="All")
    assert "deletionTimestamp" not in api.get("a")["metadata"]
    assert [str(one) for one in server.changing_calls()] == ["create inferenceservices"]


@pytest.mark.parametrize(("validation", "warned"), [(None, True), ("Warn", True), ("Ignore", False)])
def test_an_unknown_field_is_left_out_with_a_warning(api, validation, warned):
    body = inference_service("a")
    body["spec"]["predictor"]["nosuch"] = 1
    settings = {"field_validation": validation} if validation else {}
    made, _, headers = api.api.create_namespaced_custom_object_with_http_info(*WHERE, body, **settings)
    assert "nosuch" not in made["spec"]["predictor"]
    told = '299 - "unknown field \\"spec.predictor.nosuch\\""' if warned else None
    assert headers.get("Warning") == told


def test_an_unknown_field_is_an_error_if_strict(api):
    body = inference_service("a")
    body["spec"]["predictor"]["nosuch"] = 1
    status, _, message = refused(api.create, body, field_validation="Strict")
    assert status == 400
    assert message.endswith('strict decoding error: unknown field "spec.predictor.nosuch"')


def test_a_field_of_the_wrong_type_is_named(api):
    body = inference_service("a")
    body["spec"]["predictor"]["minReplicas"] = "two"
    with pytest.raises(ApiException) as raised:
        api.create(body)
    (cause,) = json.loads(raised.value.body)["details"]["causes"]
    assert (raised.value.status, cause["field"]) == (422, "spec.predictor.minReplicas")
    assert 'must be of type integer: "string"' in cause["message"]


def change(**predictor):
    def changed(body):
        body["spec"]["predictor"] |= predictor

    return changed


def canaries(*parts):
    def changed(body):
        body["spec"]["canary"] = [
            {"trafficPercent": part, "predictor": {**more, "model": body["spec"]["predictor"]["model"]}}
            for part, more in parts
        ]

    return changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (change(minReplicas=3), "'MinReplicas' cannot be greater than MaxReplicas"),
        (canaries((10, {})), "canary[0] predictor.name is required"),
        (
            canaries((50, {"name": "v2"}), (60, {"name": "v3"})),
            "sum of canary trafficPercent values (110) must be <= 100",
        ),
        (
            canaries((50, {"name": "v2", "minReplicas": 2})),
            'canary "v2" minReplicas (2) must not exceed stable predictor minReplicas (1)',
        ),
    ],
)
def test_what_the_validator_refuses(api, changed, message):
    body = inference_service("a")
    changed(body)
    assert refused(api.create, body) == (403, "Forbidden", WEBHOOK + message)


def test_names_and_empty_specs_are_refused_as_recorded(api):
    status, _, message = refused(api.create, inference_service("1starts-with-digit"))
    assert status == 403
    assert "must start with alphabetical character" in message
    empty = {**inference_service("a"), "spec": {}}
    status, _, message = refused(api.create, empty)
    assert (status, "panic: runtime error" in message) == (500, True)
    assert api.create(inference_service("a" * 60), dry_run="All")  # it is accepted, and then nothing happens


def test_without_a_right_the_answer_says_which(server, api):
    server.cluster.add("Namespace", NAMESPACE)
    server.rules = [*RULES, {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}]
    server.user = "system:serviceaccount:serving-test:limited"
    api.create(inference_service("a"))
    api.get("a")
    api.apply(inference_service("a"), "c", force=True)
    list(kubernetes.watch.Watch().stream(api.list, field_selector="metadata.name=a", timeout_seconds=1))
    user = f'User "{server.user}"'
    where = f'in the namespace "{NAMESPACE}"'
    isvc = 'resource "inferenceservices" in API group "serving.kserve.io"'
    assert (
        refused(api.list)[2] == f"inferenceservices.serving.kserve.io is forbidden: {user} cannot list {isvc} {where}"
    )
    message = refused(api.replace, "a", api.get("a"))[2]
    assert message == f'inferenceservices.serving.kserve.io "a" is forbidden: {user} cannot update {isvc} {where}'
    with server.client() as client:
        apps, core = kubernetes.client.AppsV1Api(client), kubernetes.client.CoreV1Api(client)
        told = f'{user} cannot get resource "deployments" in API group "apps" {where}'
        message = refused(apps.read_namespaced_deployment, "a-predictor", NAMESPACE)[2]
        assert message == f'deployments.apps "a-predictor" is forbidden: {told}'
        assert refused(core.list_namespaced_pod, NAMESPACE)[:2] == (403, "Forbidden")
        assert core.read_namespace(NAMESPACE).metadata.uid
        assert refused(core.list_namespace)[2].endswith("at the cluster scope")
    api.delete("a")


def test_what_is_not_there_is_not_found(server, api):
    message = 'inferenceservices.serving.kserve.io "a" not found'
    assert refused(api.get, "a") == (404, "NotFound", message)
    server.cluster.kserve = False
    assert refused(api.list)[2] == "the server could not find the requested resource"


def test_discovery_says_what_is_installed(server):
    with server.client() as client:
        groups = {one.name for one in kubernetes.client.ApisApi(client).get_api_versions().groups}
        assert {"apps", "serving.kserve.io", "trainer.kubeflow.org"} <= groups
        assert not {"gateway.networking.k8s.io", "serving.knative.dev"} & groups
        server.cluster.gateway_api = True
        listed = kubernetes.client.CustomObjectsApi(client).get_api_resources("gateway.networking.k8s.io", "v1")
        assert "httproutes" in [one.name for one in listed.resources]


def test_the_dynamic_client_works(server):
    with server.client() as client:
        dynamic = kubernetes.dynamic.DynamicClient(client)
        resource = dynamic.resources.get(api_version="serving.kserve.io/v1beta1", kind="InferenceService")
        resource.server_side_apply(body=inference_service("a"), name="a", namespace=NAMESPACE, field_manager="ours")
        operations = [{"op": "replace", "path": "/spec/predictor/model/storageUri", "value": "pvc://models/b"}]
        patched = resource.patch(
            body=operations, name="a", namespace=NAMESPACE, content_type="application/json-patch+json"
        )
        assert patched.spec.predictor.model.storageUri == "pvc://models/b"
        with pytest.raises(ApiException, match="415"):
            resource.patch(body={}, name="a", namespace=NAMESPACE)  # a strategic merge patch


def test_a_watch_tells_changes_and_bookmarks_where_it_ends(server, api):
    api.create(inference_service("a"))
    begin = api.list()["metadata"]["resourceVersion"]
    api.move("a", "pvc://models/b")
    api.create(inference_service("b"))
    settings = {"resource_version": begin, "timeout_seconds": 1, "allow_watch_bookmarks": True}
    events = list(kubernetes.watch.Watch().stream(api.list, field_selector="metadata.name=a", **settings))
    assert [one["type"] for one in events] == ["MODIFIED", "BOOKMARK"]
    assert int(events[-1]["object"]["metadata"]["resourceVersion"]) >= int(version(api.get("b")))


def test_a_watch_from_a_forgotten_version_is_gone(server, api):
    begin = version(api.create(inference_service("a")))
    api.move("a", "pvc://models/b")
    server.cluster.store.forget()
    with pytest.raises(ApiException, match="410"):
        list(kubernetes.watch.Watch().stream(api.list, resource_version=begin, timeout_seconds=1))


def test_an_object_with_finalizers_stays_until_its_controller_is_done(server, api):
    api.create(inference_service("a"))
    server.cluster.clock.advance(10)
    server.cluster.controller = False
    status, _, message = refused(api.create, inference_service("b"))
    assert (status, "failed calling webhook" in message) == (500, True)
    assert api.delete("a")["metadata"]["deletionTimestamp"]
    server.cluster.clock.advance(100)
    status, _, message = refused(api.patch, "a", {"metadata": {"labels": {"x": "1"}}})
    assert status == 500
    assert api.get("a")["metadata"]["deletionTimestamp"]
    server.cluster.controller = True
    server.cluster.clock.advance(1)
    assert refused(api.get, "a")[0] == 404


def test_a_name_is_taken_until_it_is_gone(server, api):
    api.create(inference_service("a"))
    server.cluster.clock.advance(10)
    api.delete("a", propagation_policy="Foreground")
    message = 'object is being deleted: inferenceservices.serving.kserve.io "a" already exists'
    assert refused(api.create, inference_service("a"))[1:] == ("AlreadyExists", message)
    server.cluster.clock.advance(3)
    api.create(inference_service("a"))


@pytest.mark.parametrize(
    ("effect", "done", "error"),
    [
        ("before", False, ApiException),
        ("after", True, ApiException),
        ("reset", False, Exception),
        ("drop", True, Exception),
    ],
)
def test_a_fault_strikes_before_or_after_the_effect(server, api, effect, done, error):
    server.faults.append(Fault("create", "inferenceservices", effect, status=500))
    with pytest.raises(error):
        api.create(inference_service("a"))
    assert (len(api.list()["items"]) == 1) == done


def test_the_nth_call_fails_and_all_calls_are_recorded(server, api):
    server.faults.append(Fault(position=2, status=429))
    server.retry_after = "0"
    seen = []
    server.on_call = lambda number, call: seen.append((number, str(call), call.name))
    api.create(inference_service("a"))
    assert refused(api.patch, "a", {})[0] == 429
    api.patch("a", {})
    assert [str(one) for one in server.calls] == [
        "create inferenceservices",
        "patch inferenceservices",
        "patch inferenceservices",
    ]
    assert seen == [(1, "create inferenceservices", "a"), (3, "patch inferenceservices", "a")]


@pytest.mark.parametrize(("effect", "done"), [("before", False), ("after", True)])
def test_an_answer_comes_too_late(server, api, effect, done):
    server.faults.append(Fault("create", effect=effect, seconds=1.0))
    with pytest.raises(urllib3.exceptions.HTTPError):
        api.create(inference_service("a"), _request_timeout=(0.3, 0.3))  # it knows whole seconds only
    server.faults.clear()
    assert (len(api.list()["items"]) == 1) == done


def test_the_log_and_the_events_say_why(server, api):
    body = inference_service("crash", command=["sh", "-c", 'echo "boom: the reason" >&2; exit 3'])
    api.create(body)
    server.cluster.clock.advance(10)
    with server.client() as client:
        core = kubernetes.client.CoreV1Api(client)
        (pod,) = core.list_namespaced_pod(NAMESPACE, label_selector="serving.kserve.io/inferenceservice=crash").items
        assert pod.status.container_statuses[0].state.waiting.reason == "CrashLoopBackOff"
        assert "boom" in core.read_namespaced_pod_log(pod.metadata.name, NAMESPACE, tail_lines=1)
        fields = f"involvedObject.name={pod.metadata.name},reason=BackOff"
        assert core.list_namespaced_event(NAMESPACE, field_selector=fields).items


def test_a_kubeconfig_leads_here(server, tmp_path):
    kubernetes.config.load_kube_config(str(server.kubeconfig(tmp_path)))
    try:
        assert kubernetes.client.VersionApi().get_code().git_version == "v1.34.0"
    finally:
        kubernetes.client.Configuration.set_default(None)


@pytest.mark.skipif(not CRD.exists(), reason="the recordings do not lie beside the project")
def test_the_schema_is_that_of_the_real_definition():
    assert read_definition(CRD) == inference_service_schema()
