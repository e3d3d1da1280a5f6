"""The answers of all protocols, in the forms that their documents give, from one model."""

import base64
import json
import struct

import numpy as np
import pytest

from kfp_bert_components import __version__
from kfp_bert_components.serving.engines import Answers
from kfp_bert_components.serving.service import JsonResponse
from tests.support.tiny_client import tiny_client

MODEL = "/v1/models/bert"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with tiny_client(tmp_path_factory.mktemp("tiny")) as client:
        yield client


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    with tiny_client(tmp_path_factory.mktemp("tiny"), pair=True, name="twins") as client:
        yield client


def row(label):
    high = [0.25, 0.75] if label == "shout" else [0.75, 0.25]
    return {"label": label, "probabilities": high, "score": 0.75}


LABELS = ["calm", "shout"]


@pytest.mark.parametrize("model", [MODEL, f"{MODEL}/versions/1", f"{MODEL}/labels/stable"])
def test_tensorflow_serving_predicts_in_rows_and_columns(client, model):
    rows = client.post(f"{model}:predict", json={"instances": ["HI", {"text": "hi"}]})
    assert rows.json() == {"predictions": [row("shout"), row("calm")], "labels": LABELS}
    for inputs in ({"text": ["HI", "hi"]}, ["HI", "hi"]):
        columns = client.post(f"{model}:predict", json={"inputs": inputs, "signature_name": "serving_default"})
        outputs = {"label": ["shout", "calm"], "probabilities": [[0.25, 0.75], [0.75, 0.25]], "score": [0.75, 0.75]}
        assert columns.json() == {"outputs": outputs, "labels": LABELS}


def test_a_text_may_be_sent_as_base64(client):
    coded = {"b64": base64.b64encode("HÉ".encode()).decode()}
    for instances in ([coded], [{"text": coded}]):
        assert client.post(f"{MODEL}:predict", json={"instances": instances}).json()["predictions"] == [row("shout")]


def test_tensorflow_serving_classifies(client):
    body = {"examples": [{"text": "HI"}, {"text": "hi"}]}
    want = {"result": [[["calm", 0.25], ["shout", 0.75]], [["calm", 0.75], ["shout", 0.25]]]}
    assert client.post(f"{MODEL}:classify", json=body).json() == want
    assert client.post(f"{MODEL}/versions/1:classify", json={"context": {"text": "HI"}, "examples": [{}]}).json() == {
        "result": want["result"][:1]
    }


def test_tensorflow_serving_says_what_it_serves(client):
    for model in (MODEL, f"{MODEL}/versions/1", f"{MODEL}/labels/stable"):
        (entry,) = client.get(model).json()["model_version_status"]
        assert {name: entry[name] for name in ("version", "state", "status")} == {
            "version": "1",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
        metadata = client.get(f"{model}/metadata").json()
        assert metadata["model_spec"] == {"name": "bert", "signature_name": "", "version": "1"}
        signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert signature["method_name"] == "tensorflow/serving/predict"
        shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
        assert signature["inputs"] == {"text": {"dtype": "DT_STRING", "tensor_shape": shape, "name": "text:0"}}
        assert signature["outputs"]["probabilities"]["tensor_shape"]["dim"][1] == {"size": "2", "name": ""}


def tensor(*texts, name="text", shape=None):
    return {"name": name, "shape": shape or [len(texts)], "datatype": "BYTES", "data": list(texts)}


def test_the_same_number_is_written_the_same_everywhere():
    third = np.float32(1) / np.float32(3)
    answers = Answers(["a"], np.array([[third, 1 - third]], np.float32))
    (row,) = json.loads(JsonResponse(answers.predictions()).body)
    assert row["score"] == row["probabilities"][1]
    assert row["probabilities"] == [0.33333334, 0.6666666]


@pytest.mark.parametrize("model", ["/v2/models/bert", "/v2/models/bert/versions/1"])
def test_open_inference_answers_with_tensors(client, model):
    reply = client.post(f"{model}/infer", json={"id": "7", "inputs": [tensor("HI", "hi")]})
    assert reply.json() == {
        "model_name": "bert",
        "model_version": "1",
        "id": "7",
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["shout", "calm"]},
            {"name": "score", "datatype": "FP32", "shape": [2], "data": [0.75, 0.75]},
            {"name": "probabilities", "datatype": "FP32", "shape": [2, 2], "data": [0.25, 0.75, 0.75, 0.25]},
            {"name": "labels", "datatype": "BYTES", "shape": [2], "data": LABELS},
        ],
    }
    some = client.post(f"{model}/infer", json={"inputs": [tensor("HI", shape=[1, 1])], "outputs": [{"name": "label"}]})
    assert [output["name"] for output in some.json()["outputs"]] == ["label"]
    nested = client.post(f"{model}/infer", json={"inputs": [tensor(["HI"], ["hi"], shape=[2, 1])]})
    assert nested.json()["outputs"][0]["data"] == ["shout", "calm"]


def test_a_body_that_names_another_model_or_version_is_refused(client):
    body = {"inputs": [tensor("HI")]}
    for known in ({"model_name": "bert", "model_version": "1"}, {"model_name": "", "model_version": None}):
        assert client.post("/v2/models/bert/infer", json=body | known).status_code == 200
    for field, value in (("model_name", "other"), ("model_version", "2"), ("model_version", 1)):
        reply = client.post("/v2/models/bert/infer", json=body | {field: value})
        assert (reply.status_code, f'"{field}" must be' in reply.json()["error"]) == (400, True)


def test_open_inference_says_what_it_serves(client):
    assert client.get("/v2").json() == {
        "name": "kfp-bert",
        "version": __version__,
        "extensions": ["binary_tensor_data"],
    }
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    for model in ("/v2/models/bert", "/v2/models/bert/versions/1"):
        assert client.get(f"{model}/ready").json() == {"name": "bert", "ready": True}
        told = client.get(model).json()
        assert (told["name"], told["versions"], told["platform"]) == ("bert", ["1"], "tiny")
        assert told["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
        assert {output["name"]: output["shape"] for output in told["outputs"]} == {
            "label": [-1],
            "score": [-1],
            "probabilities": [-1, 2],
            "labels": [2],
        }


def strings(*texts):
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def infer_binary(client, data, size=None, **fields):
    one = {"name": "text", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": size or len(data)}}
    head = json.dumps({"inputs": [one], **fields}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return client.post("/v2/models/bert/infer", content=head + data, headers=headers)


def test_open_inference_takes_and_gives_binary_tensors(client):
    reply = infer_binary(client, strings(b"HI", "hé".encode()), parameters={"binary_data_output": True})
    length = int(reply.headers["inference-header-content-length"])
    head, data = json.loads(reply.content[:length]), reply.content[length:]
    sizes = {output["name"]: output["parameters"]["binary_data_size"] for output in head["outputs"]}
    assert sizes == {"label": 17, "score": 8, "probabilities": 16, "labels": 17}
    assert data == (
        strings(b"shout", b"calm") + struct.pack("<6f", 0.75, 0.75, 0.25, 0.75, 0.75, 0.25) + strings(b"calm", b"shout")
    )
    asked = {"name": "label", "parameters": {"binary_data": False}}
    plain = infer_binary(client, strings(b"HI", b"hi"), outputs=[asked], parameters={"binary_data_output": True})
    assert plain.json()["outputs"][0]["data"] == ["shout", "calm"]


def test_a_model_of_pairs_takes_two_texts_in_every_protocol(pairs):
    both = {"text": "HI", "text_pair": "x"}
    label = "shout"
    model = "/v1/models/twins"
    assert pairs.post(f"{model}:predict", json={"instances": [both]}).json()["predictions"][0]["label"] == label
    columns = {"inputs": {"text": ["HI"], "text_pair": ["x"]}}
    assert pairs.post(f"{model}:predict", json=columns).json()["outputs"]["label"] == [label]
    assert pairs.post(f"{model}:classify", json={"examples": [both]}).json()["result"][0][1] == [label, 0.75]
    tensors = [tensor("x", name="text_pair"), tensor("HI")]
    reply = pairs.post("/v2/models/twins/infer", json={"inputs": tensors})
    assert reply.json()["outputs"][0]["data"] == [label]
    assert pairs.post(f"{MODEL}:predict", json={"instances": [both]}).status_code == 404


def test_ai_platform_says_which_addresses_it_asks(tmp_path):
    environment = {"AIP_PREDICT_ROUTE": "/v1/endpoints/7/deployedModels/8:predict", "AIP_HEALTH_ROUTE": "/aip/health"}
    with tiny_client(tmp_path, environment=environment) as client:
        body = {"instances": [{"text": "HI"}], "parameters": {"any": 1}}
        reply = client.post(environment["AIP_PREDICT_ROUTE"], json=body)
        assert reply.json()["predictions"] == [row("shout")]
        assert client.get(environment["AIP_HEALTH_ROUTE"]).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        (":predict", {"instances": ["a"], "inputs": ["a"]}, 'either "instances" or "inputs"'),
        (":predict", {"instances": [{"b64": "%"}]}, "instances[0].b64 must be the base64"),
        (":predict", {"instances": [{"text": {"b64": "/w=="}}]}, "instances[0].text.b64 must be the base64"),
        (":predict", {"inputs": {"text": ["a", 1]}}, "inputs.text[1] must be a string"),
        (":predict", {"inputs": {"text": "a"}}, "inputs.text must be a list"),
        (":predict", {"inputs": {"txt": ["a"]}}, '"inputs" must be an object {"text"'),
        (":predict", {"inputs": []}, "at least one text"),
        (":classify", {"examples": ["a", 3]}, "examples[1] must be"),
        (":classify", {"instances": ["a"]}, "unknown field 'instances'"),
        (":classify", {"examples": [{"text": "a"}], "context": []}, '"context" must be an object'),
        ("/infer", {}, '"inputs" must be a list of tensors'),
        ("/infer", {"inputs": []}, "no tensor 'text'"),
        ("/infer", {"inputs": [tensor("a", name="x")]}, "inputs[0].name must be one of text"),
        ("/infer", {"inputs": [tensor("a"), tensor("a")]}, "inputs[1].name must be one of text, each once"),
        ("/infer", {"inputs": [{**tensor("a"), "datatype": "FP32"}]}, 'inputs[0].datatype must be "BYTES"'),
        ("/infer", {"inputs": [tensor("a", shape=[2])]}, "inputs[0].shape must be [1] or [1, 1]"),
        ("/infer", {"inputs": [tensor("a", shape=["1"])]}, "inputs[0].shape must be a list of whole numbers"),
        ("/infer", {"inputs": [tensor(7)]}, "inputs[0].data[0] must be a string"),
        ("/infer", {"inputs": [{**tensor("a"), "data": "a"}]}, "inputs[0].data must be a list"),
        ("/infer", {"inputs": [{**tensor("a"), "data": [[["a"]]]}]}, "inputs[0].data[0] must be a string"),
        ("/infer", {"inputs": [tensor("a")], "outputs": [{"name": "x"}]}, "outputs[0].name must be one of label"),
        ("/infer", {"inputs": [tensor("a")], "id": 3}, '"id" must be a string'),
        ("/infer", {"inputs": [{**tensor("a"), "parameters": []}]}, "inputs[0].parameters must be an object"),
        ("/infer", {"inputs": [{**tensor("a"), "parameters": {"binary_data_size": 9}}]}, "binary_data_size must be"),
    ],
)
def test_a_bad_request_is_refused_with_the_field(client, path, body, says):
    reply = client.post(("/v2/models/bert" if path == "/infer" else MODEL) + path, json=body)
    assert reply.status_code == 400
    assert says in reply.json()["error"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (strings(b"a", b"b")[:-1], "ends within a string"),
        (b"\x01", "ends within a string"),
        (strings(b"a", b"\xff"), "inputs[0].data[1] is not UTF-8"),
        (strings(b"a"), "inputs[0].shape must be [1]"),
        (strings(b"a", b"b") + b"more", "ends within a string"),
    ],
)
def test_bad_binary_data_is_refused(client, data, says):
    reply = infer_binary(client, data)
    assert reply.status_code == 400
    assert says in reply.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "²", "9" * 5000, "1000"])
def test_a_bad_length_of_the_json_is_refused(client, length):
    headers = {"Inference-Header-Content-Length": length.encode("utf-8")}
    reply = client.post("/v2/models/bert/infer", json={"inputs": [tensor("a")]}, headers=headers)
    assert (reply.status_code, "Inference-Header-Content-Length" in reply.json()["error"]) == (400, True)


def test_bytes_of_no_tensor_are_refused(client):
    reply = infer_binary(client, strings(b"a", b"b") + b"more", size=len(strings(b"a", b"b")))
    assert (reply.status_code, reply.json()["error"]) == (400, "The body has 4 bytes that belong to no tensor.")
