"""Promotions told to MLflow: on a server that plays it, and with `-m peers` on a real one."""

import threading

import pytest
import requests
from mlflow import MlflowClient

from kfp_bert_components.mirrors import mirror, parse_mirrors
from kfp_bert_components.origin import Origin
from kfp_bert_components.registry import Registry
from tests.support.mlflow_registry import MlflowRegistryServer, real_mlflow
from tests.support.models import promote_next

RUN = Origin(run_id="7ce82970-d2e6-40eb-b980-9dcaf816aab0", workflow="train-qhfhp", page="https://kubeflow/x/y")
CALLS = 9  # of two versions on an empty server


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    with real_mlflow(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture
def played():
    with MlflowRegistryServer() as server:
        yield server


@pytest.fixture(params=["played", pytest.param("real", marks=pytest.mark.peers)])
def url(request):
    """The address of a server, of each kind."""
    found = request.getfixturevalue(request.param)
    return found if request.param == "real" else found.url


@pytest.fixture
def models(tmp_path, request):
    """A registry with two versions, of which the second is champion; its name is that of the test."""
    registry = Registry(str(tmp_path / request.node.name.translate(str.maketrans("[]", "--")).strip("-")), origin=RUN)
    promote_next(registry, tmp_path, "a")
    promote_next(registry, tmp_path, "b")
    return registry


def tell(models, url, name="", seconds=30.0):
    return mirror(models, parse_mirrors([f"mlflow+{url}{name}"], models.uri), seconds)


def seen(models, url):
    """What MLflow's client sees: our version that is champion, and the tags of all versions by our number."""
    client, name = MlflowClient(url, url), models.uri.rpartition("/")[2]
    champion = client.get_model_version_by_alias(name, "champion")
    versions = client.search_model_versions(f"name = '{name}'")
    found = {one.tags["kfp_bert.version"]: one.tags for one in versions}
    assert len(found) == len(versions)
    return champion.tags["kfp_bert.version"], found


def test_two_promotions_and_a_rollback_are_told(models, url, tmp_path):
    assert tell(models, url) == []
    champion, versions = seen(models, url)
    assert champion == "2" and set(versions) == {"1", "2"}
    assert versions["2"] == {
        "kfp_bert.registry": models.id(),
        "kfp_bert.version": "2",
        "kfp_bert.fingerprint": "model b",
        "kfp_bert.decision": "PROMOTE",
        "kfp_bert.reason": "macro F1 is 0.05 higher.",
        "kfp_bert.model_card": models.store.describe("versions/2/README.md"),
        "kfp_bert.run": "train-qhfhp",
        "kfp_bert.run_id": RUN.run_id,
        "kfp_bert.run_page": RUN.page,
        "kfp_bert.macro_f1": "0.91",
    }
    client, name = MlflowClient(url, url), models.uri.rpartition("/")[2]
    version = client.get_model_version_by_alias(name, "champion")
    assert version.run_link == RUN.page
    assert version.description == "\n\n".join(
        [
            f"Version 2 of {models.uri}, promoted: macro F1 is 0.05 higher.",
            "macro_f1 0.9100",
            f"Run: {RUN.page}",
            f"Model card: {models.store.describe('versions/2/README.md')}",
        ]
    )
    assert version.source == f"kfp-bert://{models.store.describe('versions/2/bundle')}"
    models.rollback()
    assert tell(models, url) == []
    assert seen(models, url) == ("1", versions)
    promote_next(models, tmp_path, "c")
    assert tell(models, url) == []
    assert seen(models, url)[0] == "3"


def test_a_changed_tag_is_set_again_and_those_of_others_stay(models, url):
    tell(models, url)
    client, name = MlflowClient(url, url), models.uri.rpartition("/")[2]
    client.set_model_version_tag(name, "1", "team", "films")
    client.set_model_version_tag(name, "1", "kfp_bert.decision", "HOLD")
    assert tell(models, url) == []
    tags = seen(models, url)[1]["1"]
    assert (tags["team"], tags["kfp_bert.decision"]) == ("films", "PROMOTE")


def test_a_registered_model_of_others_is_refused_until_its_tag_allows_it(models, url):
    client, name = MlflowClient(url, url), models.uri.rpartition("/")[2]
    client.create_registered_model(name)
    (problem,) = tell(models, url)
    assert f"{name!r} is there and not this registry's: give another name after a #" in problem
    client.set_registered_model_tag(name, "kfp_bert.registry", models.id())
    assert tell(models, url) == []
    assert seen(models, url)[0] == "2"


def test_two_at_once_leave_each_version_once(models, url):
    barrier, problems = threading.Barrier(2), []

    def run():
        barrier.wait()
        problems.extend(tell(Registry(models.uri), url))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert tell(models, url) == []
    champion, versions = seen(models, url)
    assert champion == "2" and set(versions) == {"1", "2"}


def test_done_again_it_changes_nothing(models, played):
    tell(models, played.url)
    assert len(played.calls) == CALLS
    written = played.writes()
    assert tell(models, played.url) == []
    assert played.writes() == written and len(played.calls) == CALLS + 2


def test_a_version_that_another_run_made_at_the_same_moment_is_the_one_that_stays(models, played):
    # The other run has told all of it just before this one makes version 1.
    played.faults[4] = lambda: tell(Registry(models.uri), played.url)
    assert tell(models, played.url) == []
    champion, versions = seen(models, played.url)
    assert champion == "2" and set(versions) == {"1", "2"}
    (model,) = played.models.values()
    assert model["aliases"] == {"champion": "2"} and set(model["versions"]) == {"1", "2"}


class Killed(BaseException):
    """No handler of an error catches it."""


def test_killed_after_any_call_the_next_run_adds_what_is_missing(models, monkeypatch):
    send = requests.Session.send
    for last in range(1, CALLS + 1):
        with MlflowRegistryServer() as server:
            calls = []

            def sent(session, request, calls=calls, last=last, **settings):
                answer = send(session, request, **settings)
                calls.append(request)
                if len(calls) == last:
                    raise Killed
                return answer

            with monkeypatch.context() as patch, pytest.raises(Killed):
                patch.setattr(requests.Session, "send", sent)
                tell(models, server.url)
            assert tell(models, server.url) == []
            champion, versions = seen(models, server.url)
            assert champion == "2" and set(versions) == {"1", "2"}, last


@pytest.mark.parametrize("fault", [403, 500])
def test_failed_at_any_call_it_is_a_warning_and_the_next_run_adds_what_is_missing(models, fault, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for number in range(1, CALLS + 1):
        with MlflowRegistryServer() as server:
            server.faults[number] = fault
            (problem,) = tell(models, server.url)
            assert "could not be told of the champion: " in problem and str(fault) in problem
            assert tell(models, server.url) == []
            champion, versions = seen(models, server.url)
            assert champion == "2" and set(versions) == {"1", "2"}, number


def test_a_server_that_hangs_or_is_gone_is_a_warning_with_its_address(models, played, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    played.faults[1] = "hang"
    (problem,) = tell(models, played.url, seconds=1)
    assert played.url in problem and "timeout" in problem
    (problem,) = tell(models, "http://127.0.0.1:9")
    assert "http://127.0.0.1:9" in problem


def test_the_token_is_that_of_mlflows_own_variable(models, played, monkeypatch):
    played.token = "secret"
    (problem,) = tell(models, played.url)
    assert "401" in problem
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    assert tell(models, played.url) == []
    assert b"secret" not in models.store.read("mirrors.json").data
