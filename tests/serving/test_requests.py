"""Whatever comes, the answer is no 500, and says what to change; each request has an id, numbers and a line."""

import json
import os
import re

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from kfp_bert_components.serving import Limits
from tests.support.tiny_client import tiny_client

# `make test-goals` sends 10,000.
REQUESTS = int(os.environ.get("KFP_BERT_REQUESTS", "300"))
ADDRESSES = ["/v1/models/bert:predict", "/v1/models/bert:classify", "/v2/models/bert/infer"]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    lines = []
    limits = Limits(instances=5, characters=50, body_bytes=2000)
    with tiny_client(tmp_path_factory.mktemp("tiny"), limits=limits, access_log=lines.append) as client:
        client.lines = lines
        yield client


words = st.sampled_from(
    [
        "instances",
        "inputs",
        "examples",
        "context",
        "text",
        "text_pair",
        "b64",
        "name",
        "shape",
        "datatype",
        "data",
        "parameters",
        "outputs",
        "id",
        "BYTES",
        "label",
        "binary_data_size",
        "binary_data_output",
        "signature_name",
        "serving_default",
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
tensors = st.fixed_dictionaries(
    {"name": words | st.just("text"), "shape": st.lists(st.integers(-1, 6), max_size=3), "datatype": st.just("BYTES")},
    optional={"data": st.lists(st.text(max_size=60) | values, max_size=7), "parameters": values},
)
bodies = (
    st.fixed_dictionaries({"instances": st.lists(st.text(max_size=60) | values, max_size=7) | values})
    | st.fixed_dictionaries(
        {"inputs": st.lists(tensors, max_size=3) | values}, optional={"outputs": values, "id": values}
    )
    | st.fixed_dictionaries({"examples": values}, optional={"context": values})
    | values
).map(lambda value: json.dumps(value).encode())
texts = st.lists(st.text(max_size=30), min_size=1, max_size=5)
good = texts.flatmap(
    lambda some: st.sampled_from(
        [
            {"instances": some},
            {"inputs": {"text": some}},
            {"examples": some},
            {"inputs": [{"name": "text", "shape": [len(some)], "datatype": "BYTES", "data": some}]},
        ]
    )
).map(lambda value: json.dumps(value).encode())
mangled = st.tuples(bodies, st.integers(0, 400), st.binary(max_size=5)).map(
    lambda t: t[0][: t[1]] + t[2] + t[0][t[1] :]
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(["text/plain", "application/json; charset=utf-16", "multipart/form-data", ";"]),
        "content-encoding": st.sampled_from(["identity", "identity", "identity", "gzip"]),
        "inference-header-content-length": st.integers(-5, 500).map(str) | st.just("²".encode()),
        "x-request-id": st.sampled_from(["good", "a b", "é".encode(), "x" * 200]),
        "traceparent": st.sampled_from(["", "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "x"]),
    },
)


@settings(max_examples=REQUESTS, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(ADDRESSES), bodies | good | mangled | st.binary(max_size=100), headers)
def test_no_body_gives_a_500(client, address, body, headers):
    reply = client.post(address, content=body, headers=headers)
    event(f"status {reply.status_code}")
    assert reply.status_code in (200, 400, 413, 415), reply.text
    if reply.status_code != 200:
        assert reply.json()["error"].strip()
    else:
        assert reply.json()
    json.loads(client.lines[-1])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"instances": [NaN]}', "not JSON"),
        (b'{"instances": [1e999]}', ""),
        (b'{"instances": ["a"], "parameters": -Infinity}', "not JSON"),
        (b'{"instances": ' + b"[" * 800 + b"]" * 800 + b"}", ""),
        ('{"instances": ["é"]}'.encode("latin-1"), "not JSON"),
        ('{"instances": ["a"]}'.encode("utf-16"), "not JSON"),
        (b'\xef\xbb\xbf{"instances": ["a"]}', "not JSON"),
        (b'{"instances": ["\\ud800"]}', "surrogate"),
        (b"", "not JSON"),
        (b"9" * 1999, "not JSON"),
    ],
)
def test_what_is_no_json_of_ours_is_refused(client, body, says):
    for address in ADDRESSES:
        reply = client.post(address, content=body)
        assert reply.status_code == 400
        assert says in reply.json()["error"]


@pytest.mark.parametrize("version", ["9" * 5000, "2", "01", "-1", "1.0", "²", "latest", "%00"])
def test_a_version_that_is_not_there_is_a_404(client, version):
    for method, path in [
        ("POST", f"/v1/models/bert/versions/{version}:predict"),
        ("GET", f"/v1/models/bert/versions/{version}"),
        ("GET", f"/v1/models/bert/versions/{version}/metadata"),
        ("GET", f"/v2/models/bert/versions/{version}"),
        ("POST", f"/v2/models/bert/versions/{version}/infer"),
        ("GET", f"/v1/models/bert/labels/{version}"),
    ]:
        reply = client.request(method, path, **({"json": {"instances": ["a"]}} if method == "POST" else {}))
        assert reply.status_code == 404
        assert len(reply.json()["error"]) < 300


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "GET", "TRACE", "BREW"])
def test_a_method_that_is_not_allowed_is_a_405(client, method):
    reply = client.request(method, ADDRESSES[0])
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    assert "use POST" in reply.json()["error"]


def test_a_compressed_body_is_refused(client):
    body = json.dumps({"instances": ["HI"]})
    for name in ("", "identity", "Identity"):
        assert client.post(ADDRESSES[0], content=body, headers={"Content-Encoding": name}).status_code == 200
    reply = client.post(ADDRESSES[0], content=b"", headers={"Content-Encoding": "gzip"})
    assert (reply.status_code, "without Content-Encoding" in reply.json()["error"]) == (415, True)


def test_every_address_stands_in_the_openapi_document_and_the_other_way_round(client):
    document = client.get("/openapi.json").json()
    described = {
        (re.sub(r"\{(\w+)\}", r"{\1}", path), method.upper())
        for path, operations in document["paths"].items()
        for method in operations
    }
    served = {
        (re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path), method)
        for route in client.app.routes
        if route.include_in_schema  # the page is for people
        for method in route.methods - {"HEAD"}
    }
    assert described == served
    text = json.dumps(document)
    for name in re.findall(r'"#/components/([^"]+)"', text):
        kind, _, key = name.partition("/")
        assert key in document["components"][kind]


def ask(client, **headers):
    return client.post(ADDRESSES[0], json={"instances": ["a secret", "B"]}, headers=headers)


def test_the_id_of_a_request_is_given_back_or_made(client):
    assert ask(client, **{"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = {ask(client, **{"X-Request-Id": bad}).headers["x-request-id"] for bad in ("", "a b", "x" * 129)}
    assert len(made) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)
    assert client.get("/nothing").headers["x-request-id"]


def test_the_access_log_has_no_texts(client):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    ask(client, **{"X-Request-Id": "abc-2", "traceparent": trace})
    line = json.loads(client.lines[-1])
    assert line.pop("milliseconds") > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "request_id": "abc-2",
        "method": "POST",
        "path": ADDRESSES[0],
        "status": 200,
        "client": "testclient",
        "traceparent": trace,
        "version": 1,
        "instances": 2,
    }
    ask(client, traceparent="00-nothing")
    assert "traceparent" not in json.loads(client.lines[-1])


def numbers(client):
    lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_prometheus_sees_requests_calls_and_what_is_served(client):
    before = numbers(client)
    ask(client)
    client.post(ADDRESSES[0], content=b"{")
    after = numbers(client)

    def more(name):
        return after[name] - before.get(name, 0.0)

    assert more('kfp_bert_requests_total{handler="predict",status="200"}') == 1
    assert more('kfp_bert_requests_total{handler="predict",status="400"}') == 1
    assert more('kfp_bert_request_seconds_count{handler="predict"}') == 2
    assert more("kfp_bert_instances_total") == 2
    assert more("kfp_bert_model_call_seconds_count") == 1
    assert more("kfp_bert_model_call_instances_sum") == 2
    assert after["kfp_bert_waiting_instances"] == 0
    (served,) = [name for name in after if name.startswith("kfp_bert_served_version{")]
    assert 'version="1"' in served and 'engine="tiny"' in served


def test_a_model_that_fails_is_a_500_in_answer_numbers_and_log(client):
    before = numbers(client)
    reply = client.post(ADDRESSES[0], json={"instances": ["fail"]}, headers={"X-Request-Id": "abc-3"})
    assert (reply.status_code, "see the log" in reply.json()["error"]) == (500, True)
    assert (reply.headers["x-request-id"], reply.headers["x-model-version"]) == ("abc-3", "1")
    name = 'kfp_bert_requests_total{handler="predict",status="500"}'
    assert numbers(client)[name] == before.get(name, 0) + 1
    failed, after = map(json.loads, client.lines[-2:])
    assert (failed["status"], after["status"]) == (500, 200)
    assert (failed["request_id"], failed["version"]) == ("abc-3", 1)
