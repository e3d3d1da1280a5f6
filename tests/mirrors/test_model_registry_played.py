"""The server that plays Model Registry answers as the real one did."""

import json
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from tests.conftest import ROOT
from tests.support.model_registry_server import ModelRegistryServer

TAPE = Path(__file__).parents[1] / "support" / "model_registry_api.jsonl"
RECORDED = ROOT.parent / "shared" / "data" / "modelregistry" / "api.jsonl"
TIMES = ("createTimeSinceEpoch", "lastUpdateTimeSinceEpoch")


def without_times(body):
    """A body with its times replaced by their types."""
    if isinstance(body, dict):
        return {name: type(one) if name in TIMES else without_times(one) for name, one in body.items()}
    return [without_times(one) for one in body] if isinstance(body, list) else body


def test_every_recorded_request_is_answered_as_the_real_server_did():
    with ModelRegistryServer() as server, requests.Session() as session:
        for line in TAPE.read_text().splitlines():
            call = json.loads(line)
            sent, said = call["request"], call["response"]
            path = quote(sent["path"], safe="/?=&%")
            answer = session.request(sent["method"], server.url + path, json=sent["body"] or None)
            assert answer.status_code == said["status"], call["scenario"]
            body = answer.json() if isinstance(said["body"], dict) else answer.text
            assert without_times(body) == without_times(said["body"]), call["scenario"]


def test_the_tape_is_the_recording():
    if not RECORDED.exists():
        pytest.skip(f"the recording is not here: {RECORDED}")
    assert TAPE.read_text() == RECORDED.read_text()
