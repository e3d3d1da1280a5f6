"""What the REST server answers, asked through HTTP in this process."""

import json
import shutil
import time

import pytest
from starlette.testclient import TestClient

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.serving import Limits, create_app
from tests.support.tiny_model import write_tiny_saved_model

PREDICT = "/v1/models/bert:predict"


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory):
    return write_tiny_saved_model(tmp_path_factory.mktemp("tiny") / "saved_model")


def wait_until_ready(client):
    for _ in range(400):
        if client.get("/healthz").status_code == 200:
            return client
        time.sleep(0.05)
    raise AssertionError(client.get("/healthz").json())


@pytest.fixture(scope="session")
def client(saved_model):
    limits = Limits(instances=3, characters=20, body_bytes=500)
    with TestClient(create_app(saved_model, limits=limits), raise_server_exceptions=False) as client:
        yield wait_until_ready(client)


def test_strings_and_objects_are_answered_in_order(client):
    reply = client.post(PREDICT, json={"instances": ["HELLO", {"text": "hello"}]})
    assert reply.status_code == 200
    first, second = reply.json()["predictions"]
    assert (first["label"], second["label"]) == ("shout", "calm")
    assert first["probabilities"] == pytest.approx([0.1, 0.9])
    assert first["score"] == pytest.approx(0.9)


def test_the_status_has_the_form_of_tensorflow_serving(client):
    status = client.get("/v1/models/bert").json()["model_version_status"][0]
    assert (status["version"], status["state"], status["status"]["error_code"]) == ("1", "AVAILABLE", "OK")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 200, "not JSON"),
        (b"[]", "object"),
        (b"{}", "instances"),
        (b'{"instances": []}', "at least one"),
        (b'{"instances": "text"}', "list"),
        (b'{"instances": [1]}', "instances[0] must be a string"),
        (b'{"instances": ["a", null]}', "instances[1]"),
        (b'{"instances": [{"txt": "a"}]}', "instances[0] must have exactly"),
        (b'{"instances": [{"text": 3}]}', "instances[0].text must be a string"),
        (b'{"instances": ["a", "a", "a", "a"]}', "at most 3"),
        (b'{"instances": ["aaaaaaaaaaaaaaaaaaaaaaaaaaa"]}', "at most 20"),
        (b'{"instances": ["\\ud800"]}', "surrogate"),
        (b'{"instance": ["a"]}', "unknown field 'instance'"),
        (b'{"instances": ["a"], "signature_name": "other"}', "signature"),
    ],
)
def test_a_bad_request_is_refused_with_its_reason(client, body, says):
    reply = client.post(PREDICT, content=body)
    assert reply.status_code == 400
    assert says in reply.json()["error"]


@pytest.mark.parametrize(
    ("method", "url", "status", "says"),
    [
        ("POST", "/v1/models/other:predict", 404, "no model 'other'"),
        ("GET", "/v1/models/other", 404, "no model 'other'"),
        ("GET", "/nothing", 404, "nothing at /nothing"),
        ("GET", PREDICT, 405, "use POST"),
        ("POST", "/healthz", 405, "use GET"),
        ("POST", "/v1/models/bert/versions/7:predict", 404, "Version 7 is not loaded"),
    ],
)
def test_a_wrong_address_or_method_is_refused_with_its_reason(client, method, url, status, says):
    reply = client.request(method, url, **({"json": {"instances": ["a"]}} if method == "POST" else {}))
    assert reply.status_code == status
    assert says in reply.json()["error"]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(client):
    reply = client.post(PREDICT, content=b'{"instances": ["' + b"a" * 1000 + b'"]}')
    assert reply.status_code == 413
    assert "at most 500 bytes" in reply.json()["error"]


def test_a_model_of_pairs_needs_both_texts(tmp_path):
    app = create_app(write_tiny_saved_model(tmp_path / "pair", pair=True))
    with TestClient(app) as client:
        wait_until_ready(client)
        good = client.post(PREDICT, json={"instances": [{"text": "HI", "text_pair": "x"}]})
        bad = client.post(PREDICT, json={"instances": ["HI"]})
    assert good.json()["predictions"][0]["label"] == "shout"
    assert bad.status_code == 400
    assert "text_pair" in bad.json()["error"]


def test_a_folder_of_versions_serves_the_newest_and_falls_back_when_it_goes(saved_model, tmp_path):
    with TestClient(create_app(tmp_path, poll_seconds=0.05)) as client:
        assert client.get("/healthz").status_code == 503
        assert client.post(PREDICT, json={"instances": ["a"]}).status_code == 503
        shutil.copytree(saved_model, tmp_path / "1")
        assert wait_until_ready(client).get("/healthz").json()["version"] == 1
        (tmp_path / "10").mkdir()  # not complete: no saved_model.pb
        write_tiny_saved_model(tmp_path / ".scratch", shout_score=0.7).rename(tmp_path / "2")
        wait_for_version(client, 2)
        answer = client.post(PREDICT, json={"instances": ["HI"]}).json()["predictions"][0]
        assert answer["score"] == pytest.approx(0.7)
        shutil.rmtree(tmp_path / "2")
        wait_for_version(client, 1)


def wait_for_version(client, version):
    for _ in range(200):
        if client.get("/healthz").json().get("version") == version:
            return
        time.sleep(0.05)
    raise AssertionError(client.get("/healthz").json())


def test_a_broken_new_version_leaves_the_old_one_in_service(saved_model, tmp_path):
    shutil.copytree(saved_model, tmp_path / "1")
    with TestClient(create_app(tmp_path, poll_seconds=0.05)) as client:
        wait_until_ready(client)
        (tmp_path / "2").mkdir()
        (tmp_path / "2" / "saved_model.pb").write_bytes(b"no model")
        for _ in range(200):
            status = client.get("/v1/models/bert").json()["model_version_status"][0]
            if status["status"]["error_message"]:
                break
            time.sleep(0.05)
        assert "version 2 cannot be served" in status["status"]["error_message"]
        assert client.post(PREDICT, json={"instances": ["HI"]}).status_code == 200


def test_a_path_without_a_model_fails_at_once(tmp_path):
    with pytest.raises(NotFoundError, match="does not exist"):
        create_app(tmp_path / "missing")
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(UserError, match="holds no model"):
        create_app(tmp_path)


def with_metadata(folder, version, fingerprint):
    (folder / "assets.extra").mkdir(exist_ok=True)
    fields = {"format": 1, "fingerprint": fingerprint, "registry_version": version}
    (folder / "assets.extra" / "bundle.json").write_text(json.dumps(fields))
    return folder


def wait_for_health(client, **wanted):
    for _ in range(200):
        health = client.get("/healthz").json()
        if wanted.items() <= health.items():
            return
        time.sleep(0.05)
    raise AssertionError(health)


def test_another_model_under_the_same_number_is_served_and_health_shows_both_numbers(saved_model, tmp_path):
    with_metadata(shutil.copytree(saved_model, tmp_path / "2"), 7, "first")
    with TestClient(create_app(tmp_path, poll_seconds=0.05)) as client:
        wait_for_health(client, status="ok", version=2, registry_version=7, fingerprint="first")
        other = with_metadata(write_tiny_saved_model(tmp_path / ".scratch", shout_score=0.7), 1, "second")
        (tmp_path / "2").rename(tmp_path / ".old")
        other.rename(tmp_path / "2")
        wait_for_health(client, version=2, registry_version=1, fingerprint="second")
        answer = client.post(PREDICT, json={"instances": ["HI"]}).json()["predictions"][0]
        assert answer["score"] == pytest.approx(0.7)
        entry = client.get("/v1/models/bert/versions/2").json()["model_version_status"][0]
        assert (entry["version"], entry["registry_version"], entry["fingerprint"]) == ("2", 1, "second")


def test_a_number_that_could_not_be_loaded_is_tried_again_with_another_content(saved_model, tmp_path):
    shutil.copytree(saved_model, tmp_path / "1")
    with TestClient(create_app(tmp_path, poll_seconds=0.05)) as client:
        wait_for_health(client, version=1, registry_version=None)
        (tmp_path / "2").mkdir()
        (tmp_path / "2" / "saved_model.pb").write_bytes(b"no model")
        for _ in range(200):
            status = client.get("/v1/models/bert").json()["model_version_status"][0]["status"]
            if status["error_message"]:
                break
            time.sleep(0.05)
        assert "version 2 cannot be served" in status["error_message"]
        shutil.rmtree(tmp_path / "2")
        shutil.copytree(saved_model, tmp_path / ".scratch").rename(tmp_path / "2")
        wait_for_health(client, version=2)
        status = client.get("/v1/models/bert").json()["model_version_status"][0]["status"]
        assert status["error_message"] == ""
