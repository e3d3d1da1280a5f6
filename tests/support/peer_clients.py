"""What KServe's and Triton's clients get from a server: `python peer_clients.py URL`; it prints JSON.

It runs in the environment of the peers, without this package.
"""

import asyncio
import json
import sys

import numpy as np
import tritonclient.http
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

TEXTS = ["HELLO", "hello", "É 한국어"]


def triton(host: str, binary: bool) -> dict:
    client = tritonclient.http.InferenceServerClient(host)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("bert")
    assert client.get_server_metadata()["name"] == "kfp-bert"
    assert client.get_model_metadata("bert", "1")["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    text = tritonclient.http.InferInput("text", [len(TEXTS)], "BYTES")
    text.set_data_from_numpy(np.array(TEXTS, object), binary_data=binary)
    outputs = [
        tritonclient.http.InferRequestedOutput(name, binary_data=binary)
        for name in ("label", "probabilities", "labels")
    ]
    named = client.infer("bert", [text], outputs=outputs, request_id="7")
    all_of_them = client.infer("bert", [text], model_version="1")
    assert named.get_response()["id"] == "7"
    assert np.array_equal(named.as_numpy("probabilities"), all_of_them.as_numpy("probabilities"))
    assert all_of_them.as_numpy("score").shape == (len(TEXTS),)
    return {
        "label": [_text(one) for one in named.as_numpy("label")],
        "probabilities": named.as_numpy("probabilities").tolist(),
        "labels": [_text(one) for one in named.as_numpy("labels")],
    }


async def kserve(url: str, protocol: str) -> dict:
    client = InferenceRESTClient(RESTConfig(protocol=protocol))
    if protocol == "v1":
        assert await client.is_model_ready(url, "bert")
        answer = await client.infer(url, {"instances": TEXTS}, model_name="bert")
        rows = answer["predictions"]
        return {
            "label": [row["label"] for row in rows],
            "probabilities": [row["probabilities"] for row in rows],
            "labels": answer["labels"],
        }
    assert await client.is_server_live(url) and await client.is_server_ready(url)
    assert await client.is_model_ready(url, "bert")
    text = InferInput("text", [len(TEXTS)], "BYTES")
    text.set_data_from_numpy(np.array(TEXTS, object), binary_data=False)
    answer = await client.infer(url, InferRequest("bert", [text], request_id="7"), model_name="bert")
    assert answer.id == "7"
    outputs = {output.name: output for output in answer.outputs}
    return {
        "label": [_text(one) for one in outputs["label"].as_numpy()],
        "probabilities": outputs["probabilities"].as_numpy().tolist(),
        "labels": [_text(one) for one in outputs["labels"].as_numpy()],
    }


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    url = sys.argv[1]
    host = url.removeprefix("http://")
    answers = {
        "triton, binary": triton(host, True),
        "triton, JSON": triton(host, False),
        "kserve v1": asyncio.run(kserve(url, "v1")),
        "kserve v2": asyncio.run(kserve(url, "v2")),
    }
    print(json.dumps(answers))
