"""What `/about` says of a model: what its folder and its registry know, and nothing else."""

import json
import re
import threading

import pytest
from starlette.testclient import TestClient

from kfp_bert_components.deployment import deploy_to_serving_directory
from kfp_bert_components.registry import Registry
from kfp_bert_components.serving import create_app
from tests.serving.test_app import wait_until_ready
from tests.support.models import candidate_for, promote_next
from tests.support.tiny_model import write_tiny_saved_model
from tests.test_extras import run_without

OWNER = ".kfp-bert-owner.json"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """A registry with one version, and the folder that it was deployed to."""
    folder = tmp_path_factory.mktemp("deployed")
    registry = Registry(str(folder / "registry"))
    parts = candidate_for(registry, folder, "m")
    write_tiny_saved_model(parts[0] / "saved_model")
    registry.promote(*parts)
    deploy_to_serving_directory(registry.uri, str(folder / "serving"))
    return registry, folder / "serving"


def about(path):
    with TestClient(create_app(path)) as client:
        return wait_until_ready(client).get("/about").json()


def test_of_a_saved_model_only_what_is_in_it_is_said(tmp_path):
    found = about(write_tiny_saved_model(tmp_path / "model"))
    assert found.pop("fingerprint")
    limits = {"instances": 1024, "characters": 100_000, "body_bytes": 16 * 1024 * 1024}
    assert found == {
        "predict": "v1/models/bert:predict",
        "inputs": ["text"],
        "limits": limits,
        "version": 1,
        "registry_version": None,
        "labels": [],
    }


def test_of_a_bundle_its_own_record_is_shown(tmp_path):
    write_tiny_saved_model(tmp_path / "saved_model", pair=True)
    record = {"labels": ["calm", "shout"], "fingerprint": "f1", "base_model": "", "max_length": 64, "unknown": 1}
    (tmp_path / "bundle.json").write_text(json.dumps(record))
    found = about(tmp_path)
    assert (found["labels"], found["fingerprint"], found["max_length"]) == (["calm", "shout"], "f1", 64)
    assert found["inputs"] == ["text", "text_pair"]
    assert not {"base_model", "unknown", "registry"} & set(found)


def test_the_model_that_answers_is_described_after_its_files_have_changed(tmp_path):
    write_tiny_saved_model(tmp_path / "saved_model")
    (tmp_path / "bundle.json").write_text(json.dumps({"labels": ["calm", "shout"], "fingerprint": "f1"}))
    with TestClient(create_app(tmp_path, poll_seconds=600)) as client:
        wait_until_ready(client)
        (tmp_path / "bundle.json").write_text(json.dumps({"labels": ["ham", "spam"], "fingerprint": "f2"}))
        found = client.get("/about").json()
    assert (found["labels"], found["fingerprint"]) == (["calm", "shout"], "f1")


def test_a_deployed_version_is_found_in_its_registry(deployed):
    registry, serving = deployed
    found = about(serving)
    assert (found["version"], found["registry_version"], found["fingerprint"]) == (1, 1, "model m")
    known = found["registry"]
    assert (known["version"], known["champion"], known["reason"]) == (1, 1, "macro F1 is 0.05 higher.")
    assert known["card"] == registry.card(1)
    assert [event["text"].split(":")[0] for event in known["history"][:1]] == ["Version 1 went live on production."]
    assert "by" not in known["history"][0]


def test_a_newer_champion_is_named(deployed, tmp_path):
    registry, serving = deployed
    number = promote_next(registry, tmp_path, "next")
    known = about(serving)["registry"]
    registry.rollback(1)
    assert (known["version"], known["champion"]) == (1, number)


def change_owner(serving, **fields):
    path = serving / OWNER
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | fields))
    return before


@pytest.mark.parametrize(
    ("owner", "says"),
    [
        ({"registry_uri": "/nowhere/registry"}, "there is not the registry that this folder belongs to any more"),
        ({"registry": "another"}, "there is not the registry that this folder belongs to any more"),
        ({"registry_uri": ""}, "empty"),
    ],
)
def test_a_registry_that_is_not_the_model_s_is_not_shown(deployed, owner, says):
    _, serving = deployed
    before = change_owner(serving, **owner)
    try:
        found = about(serving)
    finally:
        (serving / OWNER).write_text(before)
    assert "registry" not in found
    assert found["registry_problem"].startswith("The registry cannot be read: ")
    assert says in found["registry_problem"]
    assert found["labels"] == ["ham", "spam"]


def test_a_version_that_is_another_model_in_the_registry_is_not_shown(deployed):
    _, serving = deployed
    path = serving / "1" / "assets.extra" / "bundle.json"
    before = path.read_text()
    path.write_text(before.replace('"model m"', '"another model"'))
    try:
        found = about(serving)
    finally:
        path.write_text(before)
    assert "its version 1 is another model" in found["registry_problem"]


def test_a_registry_that_does_not_answer_holds_up_neither_the_page_nor_the_end(deployed, monkeypatch):
    _, serving = deployed
    go_on = threading.Event()
    monkeypatch.setattr(Registry, "history", lambda self: go_on.wait(60) and [])
    with TestClient(create_app(serving)) as client:
        wait_until_ready(client)
        for _ in range(2):
            assert client.get("/about").json()["registry_problem"] == "The registry does not answer yet."
        assert sum(thread.name == "registry" for thread in threading.enumerate()) == 1
        go_on.set()
        assert client.get("/about").json()["registry"]["history"] == []


READ = "from kfp_bert_components.serving.about import *; print(registry_facts(sys.argv[1], Identity(1, 'model m')))"


def test_without_what_a_registry_needs_a_bundle_is_served_and_a_deployed_version_says_what_is_missing(
    deployed, tmp_path
):
    assert run_without("pydantic", READ, str(tmp_path)).stdout.strip() == "{}"
    assert run_without("tqdm", READ, str(tmp_path)).stdout.strip() == "{}"
    printed = run_without("pydantic", READ, str(deployed[1])).stdout
    assert "pydantic is not installed: pip install 'kfp-bert-components[data]'." in printed


def test_while_no_model_is_loaded_the_answer_is_503(tmp_path):
    with TestClient(create_app(tmp_path)) as client:
        reply = client.get("/about")
        assert reply.status_code == 503
        assert "loading" in reply.json()["error"]


@pytest.mark.parametrize("url", ["/", "/page.js", "/elements.js", "/model.js", "/page.css", "/icon.svg", "/about"])
def test_every_file_of_the_page_forbids_to_be_taken_for_something_else(deployed, url):
    with TestClient(create_app(deployed[1])) as client:
        reply = wait_until_ready(client).get(url)
    assert reply.status_code == 200
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", reply.text) == []  # that one is a name, not an address
