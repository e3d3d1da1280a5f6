"""What the server does under KServe: its name, its list, and its end where the model can't be loaded."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from starlette.testclient import TestClient

from kfp_bert_components.errors import UserError
from kfp_bert_components.serving import create_app, serve
from tests.support.tiny_server import tiny_server


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code


def run_command(folder, log, **environment):
    command = [sys.executable, "-m", "kfp_bert_components.cli", "serve", str(folder), "--port", "0"]
    known = {**os.environ, "KFP_BERT_TERMINATION_LOG": str(log), **environment}
    return subprocess.run(
        [*command, "--model-name", "films"], capture_output=True, text=True, timeout=60, env=known, check=False
    )


def test_it_lists_its_model_and_is_asked_by_its_name(tmp_path):
    with tiny_server(tmp_path, name="films") as running:
        assert get(f"{running.url}/v1/models") == {"models": ["films"]}
        assert get(f"{running.url}/v1/models/films")["model_version_status"][0]["state"] == "AVAILABLE"
        assert get(f"{running.url}/v1/models/bert") == 404
        assert get(f"{running.url}/v2/models/films/ready")["ready"] is True


@pytest.mark.parametrize("content", ["nothing", "no graph"])
def test_under_kserve_it_ends_and_its_reason_is_in_the_termination_log(tmp_path, content):
    folder, log = tmp_path / "models", tmp_path / "termination-log"
    folder.mkdir()
    log.touch()
    if content == "no graph":
        (folder / "bundle.json").write_text('{"labels": ["a", "b"]}')
        (folder / "model.onnx").write_text("no graph")
    done = run_command(folder, log, INFERENCE_SERVICE_NAME="films")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert log.read_text() and log.read_text().split()[0] in done.stderr
    assert ("no complete version" if content == "nothing" else "version 1 cannot be served") in log.read_text()


def test_elsewhere_a_termination_log_that_is_not_there_is_not_made(tmp_path):
    done = run_command(tmp_path / "nothing", tmp_path / "log")
    assert done.returncode == 1 and "does not exist" in done.stderr
    assert not (tmp_path / "log").exists()


def test_a_model_that_may_come_is_waited_for_unless_it_must_load(tmp_path):
    with pytest.raises(UserError, match="has no complete version yet"):
        serve(tmp_path, port=0, must_load=True)


def test_the_status_says_that_a_model_cannot_be_loaded_and_why(tmp_path):
    (tmp_path / "bundle.json").write_text('{"labels": ["a", "b"]}')
    (tmp_path / "model.onnx").write_text("no graph")
    with TestClient(create_app(tmp_path)) as client:
        for _ in range(400):
            entry = client.get("/v1/models/bert").json()["model_version_status"][0]
            if entry["state"] != "LOADING":
                break
            assert entry["status"] == {"error_code": "OK", "error_message": ""}
            time.sleep(0.02)
    assert (entry["state"], entry["status"]["error_code"]) == ("END", "UNKNOWN")
    assert "version 1 cannot be served" in entry["status"]["error_message"]
