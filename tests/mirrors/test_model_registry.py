"""Promotions told to Kubeflow Model Registry: killed, failed and done twice at once."""

import threading

import pytest
import requests

from kfp_bert_components.mirrors import mirror, parse_mirrors
from kfp_bert_components.origin import Origin
from kfp_bert_components.registry import Registry
from tests.support.model_registry_server import ModelRegistryServer
from tests.support.models import promote_next

RUN = Origin(
    run_id="7ce82970-d2e6-40eb-b980-9dcaf816aab0", workflow="train-qhfhp", namespace="kubeflow", page="https://x/y"
)
CALLS = 13  # of two versions on an empty server


@pytest.fixture
def server():
    with ModelRegistryServer() as running:
        yield running


@pytest.fixture
def models(tmp_path):
    """A registry with two versions, of which the second is champion."""
    registry = Registry(str(tmp_path / "films"), origin=RUN)
    promote_next(registry, tmp_path, "a")
    promote_next(registry, tmp_path, "b")
    return registry


def tell(models, server, name="", seconds=30.0):
    return mirror(models, parse_mirrors([f"model-registry+{server.url}{name}"], models.uri), seconds)


def is_whole(models, server, champion=2):
    """The server has all of it, once."""
    assert server.properties("registered_models", "films") == {
        "kfp_bert.registry": models.id(),
        "kfp_bert.champion": str(champion),
    }
    versions = server.named("model_versions")
    assert set(versions) == {str(one.version) for one in models.versions()}
    for name, one in versions.items():
        told = server.properties("model_versions", name)
        assert told["kfp_bert.registry"] == models.id() and told["kfp_bert.version"] == name
        (artifact,) = (own for own in server.kinds["model_artifacts"].values() if f"/{name}/" in own["uri"])
        assert one["registeredModelId"] == next(iter(server.kinds["registered_models"]))
        assert artifact["uri"] == models.store.describe(f"versions/{name}/bundle/saved_model")
    assert len(server.kinds["model_artifacts"]) == len(versions)
    return True


@pytest.mark.parametrize("api", ["v1", "v1alpha3"])
def test_versions_and_champion_are_told_in_the_api_that_the_server_has(models, api):
    with ModelRegistryServer(api) as server:
        assert tell(models, server) == []
        assert is_whole(models, server)
        assert server.properties("model_versions", "2") == {
            "kfp_bert.registry": models.id(),
            "kfp_bert.version": "2",
            "kfp_bert.fingerprint": "model b",
            "kfp_bert.decision": "PROMOTE",
            "kfp_bert.reason": "macro F1 is 0.05 higher.",
            "kfp_bert.model_card": models.store.describe("versions/2/README.md"),
            "kfp_bert.run": "train-qhfhp",
            "kfp_bert.run_id": RUN.run_id,
            "kfp_bert.run_page": "https://x/y",
            "kfp_bert.macro_f1": 0.91,
        }
        artifact = server.named("model_versions") and list(server.kinds["model_artifacts"].values())[-1]
        source = {name: value for name, value in artifact.items() if name.startswith("modelSource")}
        assert source == {
            "modelSourceKind": "kfp",
            "modelSourceClass": "pipelinerun",
            "modelSourceGroup": "kubeflow",
            "modelSourceId": RUN.run_id,
            "modelSourceName": "train-qhfhp",
        }
        (record,) = models.mirrors().values()
        assert (record.champion, record.named, record.problem) == (
            2,
            f"version 2 of films in Model Registry (API {api})",
            "",
        )


def test_done_again_it_changes_nothing(models, server):
    tell(models, server)
    written, record = len(server.writes()), models.store.read("mirrors.json").data
    assert tell(models, server) == []
    assert len(server.writes()) == written and models.store.read("mirrors.json").data == record


def test_a_rollback_and_a_new_version_are_told_and_properties_of_others_stay(models, server, tmp_path):
    tell(models, server)
    model = next(iter(server.kinds["registered_models"].values()))
    theirs = {"team": {"metadataType": "MetadataStringValue", "string_value": "films"}}
    model["customProperties"] |= theirs
    models.rollback()
    assert tell(models, server) == []
    assert server.properties("registered_models", "films")["kfp_bert.champion"] == "1"
    promote_next(models, tmp_path, "c")
    assert tell(models, server) == []
    assert model["customProperties"].items() >= theirs.items()
    assert server.properties("registered_models", "films")["kfp_bert.champion"] == "3"
    assert set(server.named("model_versions")) == {"1", "2", "3"}


class Killed(BaseException):
    """No handler of an error catches it."""


@pytest.mark.parametrize("last", range(1, CALLS + 1))
def test_killed_after_any_call_the_next_run_adds_what_is_missing(models, server, monkeypatch, last):
    send, calls = requests.Session.send, []

    def sent(session, request, **settings):
        answer = send(session, request, **settings)
        calls.append(request)
        if len(calls) == last:
            raise Killed
        return answer

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(requests.Session, "send", sent)
        tell(models, server)
    assert models.mirrors() == {}
    assert tell(models, server) == []
    assert is_whole(models, server)


def test_all_calls_were_looked_at(models, server):
    tell(models, server)
    assert len(server.calls) == CALLS


@pytest.mark.parametrize("fault", [401, 404, 409, 500, "lost"])
def test_failed_at_any_call_it_is_a_warning_and_the_next_run_adds_what_is_missing(models, tmp_path, fault):
    for number in range(1, CALLS + 1):
        with ModelRegistryServer() as server:
            server.faults[number] = fault
            problems = tell(models, server)
            (record,) = models.mirrors().values()
            assert bool(problems) == bool(record.problem)
            # It is over at once where a call can be made again, or another API, or another one's object, is looked for.
            assert problems or fault in ("lost", 404, 409)
            assert tell(models, server) == []
            assert is_whole(models, server), (number, fault)
        assert [one.problem for one in models.mirrors().values()] == [""]
        models.record_mirror(next(iter(models.mirrors())), None)


@pytest.mark.parametrize("number", [2, CALLS])
def test_a_server_that_hangs_costs_no_more_than_its_time(models, server, number):
    server.faults |= {number: "hang", number + 1: "hang"}
    (problem,) = tell(models, server, seconds=0.5)
    assert "Model Registry does not answer" in problem and "Read timed out" in problem
    assert tell(models, server) == []
    assert is_whole(models, server)


def test_two_at_once_make_each_object_once(models):
    for _ in range(10):
        with ModelRegistryServer() as server:
            barrier, problems = threading.Barrier(2), []

            def run(server=server, barrier=barrier, problems=problems):
                barrier.wait()
                problems += tell(Registry(models.uri), server)

            threads = [threading.Thread(target=run) for _ in range(2)]
            for one in threads:
                one.start()
            for one in threads:
                one.join()
            assert problems == []
            assert is_whole(models, server)


def test_a_champion_that_moves_meanwhile_is_the_one_that_is_told_at_last(models, server, tmp_path):
    # Another run promotes and tells all of it, just before this one writes what was the champion before.
    def another():
        promote_next(models, tmp_path, "c")
        assert tell(Registry(models.uri), server) == []

    server.faults[CALLS] = another
    assert tell(models, server) == []
    assert is_whole(models, server, champion=3)


def test_a_registered_model_of_another_registry_is_refused(models, server, tmp_path):
    tell(models, server)
    other = Registry(str(tmp_path / "other" / "films"))
    promote_next(other, tmp_path / "x", "a")
    (problem,) = tell(other, server)
    assert "'films' is there and not this registry's: give another name after a #" in problem
    assert tell(other, server, "#other films") == []
    assert set(server.named("registered_models")) == {"films", "other films"}


def test_the_token_is_that_of_the_file_that_the_variable_names(models, server, tmp_path, monkeypatch):
    server.token = "secret"
    (problem,) = tell(models, server)
    assert "401" in problem and "KF_PIPELINES_SA_TOKEN_PATH" in problem
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    (problem,) = tell(models, server)
    assert "can't be read" in problem
    (tmp_path / "token").write_text("secret\n")
    assert tell(models, server) == []
    assert b"secret" not in models.store.read("mirrors.json").data


def test_what_is_no_model_registry_is_named(models, server):
    server.api = "v9"
    (problem,) = tell(models, server)
    assert "there is no Model Registry at" in problem
