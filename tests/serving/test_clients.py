"""The server's protocols by the clients of those who made them."""

import json

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.aiplatform_v1 import PredictionServiceClient
from google.cloud.aiplatform_v1.services.prediction_service.transports import PredictionServiceRestTransport
from google.protobuf import json_format, struct_pb2

from tests.conftest import ROOT
from tests.support.peers import peer_command, run_peer
from tests.support.tiny_server import tiny_server

SUPPORT = ROOT / "tests" / "support"


def test_the_client_of_ai_platform(tmp_path):
    endpoint = "projects/p/locations/l/endpoints/7"
    routes = {"AIP_PREDICT_ROUTE": f"/v1/{endpoint}:predict", "AIP_HEALTH_ROUTE": "/health"}
    with tiny_server(tmp_path, environment=routes) as running:
        host = running.url.removeprefix("http://")
        transport = PredictionServiceRestTransport(
            host=host, url_scheme="http", credentials=AnonymousCredentials(), always_use_jwt_access=False
        )
        client = PredictionServiceClient(transport=transport)
        instances = [json_format.ParseDict(one, struct_pb2.Value()) for one in ({"text": "HI"}, {"text": "hi"})]
        reply = client.predict(endpoint=endpoint, instances=instances, parameters=struct_pb2.Value())
        answers = [dict(one) for one in reply.predictions]
    assert [one["label"] for one in answers] == ["shout", "calm"]
    assert list(answers[0]["probabilities"]) == [0.25, 0.75]


@pytest.mark.peers
def test_the_clients_of_kserve_and_triton(tmp_path):
    with tiny_server(tmp_path) as running:
        answers = json.loads(run_peer("server clients", SUPPORT / "peer_clients.py", running.url))
    assert set(answers) == {"triton, binary", "triton, JSON", "kserve v1", "kserve v2"}
    for answer in answers.values():
        assert answer == {
            "label": ["shout", "calm", "shout"],
            "probabilities": [[0.25, 0.75], [0.75, 0.25], [0.25, 0.75]],
            "labels": ["calm", "shout"],
        }


@pytest.mark.peers
def test_schemathesis_finds_no_answer_that_the_openapi_document_does_not_have(tmp_path):
    # A document can't say that a text in base64 is UTF-8, or that a shape goes with the number of texts.
    settings = ["--exclude-checks", "positive_data_acceptance", "--generation-deterministic", "--max-examples", "30"]
    with tiny_server(tmp_path) as running:
        peer_command("server clients", "schemathesis", "run", f"{running.url}/openapi.json", *settings, folder=tmp_path)
    assert running.errors == ""
