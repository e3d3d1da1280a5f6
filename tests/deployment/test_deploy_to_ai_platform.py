"""The whole step: registry and staging on gs://, texts from the stored evaluation, a plan without changes."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from kfp_bert_components.ai_platform import AiPlatformSettings, deploy_to_ai_platform
from kfp_bert_components.components.deploy_to_ai_platform import deploy_to_ai_platform as component
from kfp_bert_components.deployment import RolloutError, load_smoke_requests
from kfp_bert_components.errors import UserError
from kfp_bert_components.origin import Origin
from kfp_bert_components.registry import Registry
from tests.support.ai_platform_cloud import shout
from tests.support.ai_platform_server import AiPlatformServer, Fault
from tests.support.examined import TEXTS, write_examined
from tests.support.stores import gcs

__all__ = ["gcs"]
SETTINGS = AiPlatformSettings("p", "region-1", drain_seconds=0, canary_percent=30)


@pytest.fixture
def server(gcs):
    with AiPlatformServer() as server:
        yield server


def promote(registry: Registry, folder: Path, name: str) -> int:
    champion = registry.champion()
    known = (champion.version, champion.generation) if champion else None
    paths = write_examined(folder / name, name, champion=known, saved_model=False)
    return registry.promote(*paths)


def test_the_texts_and_answers_come_from_the_stored_evaluation(tmp_path):
    registry = Registry(str(tmp_path / "registry"))
    promote(registry, tmp_path, "first")
    requests = load_smoke_requests(registry, 1)
    assert sorted(one.instance["text"] for one in requests.rows) == sorted(TEXTS)
    assert requests.labels == ["calm", "shout"]
    first = requests.rows[0]
    assert first.expected == pytest.approx(tuple(shout("", [first.instance])[0]["probabilities"]))


def test_a_registry_on_a_disk_is_staged(server, tmp_path):
    registry = Registry(str(tmp_path / "registry"))
    promote(registry, tmp_path, "first")
    with pytest.raises(UserError, match="give a gs:// folder for staging"):
        deploy_to_ai_platform(registry.uri, SETTINGS, api_endpoint=server.url)
    staged = replace(SETTINGS, staging="gs://bucket/staging")
    deployed = deploy_to_ai_platform(registry.uri, staged, api_endpoint=server.url, poll_seconds=0.01)
    assert deployed.version == 1
    model = next(iter(server.cloud.models.values()))[0]
    assert model.artifact_uri.startswith("gs://bucket/staging/")


def test_a_dry_run_reports_the_plan_and_changes_nothing(server, tmp_path):
    registry = Registry("gs://bucket/registry")
    promote(registry, tmp_path, "first")
    first = deploy_to_ai_platform(registry.uri, SETTINGS, api_endpoint=server.url, poll_seconds=0.01)
    promote(registry, tmp_path, "second")
    before = registry.deployment("production").generation
    server.calls.clear()
    lines: list[str] = []
    plan = deploy_to_ai_platform(registry.uri, SETTINGS, api_endpoint=server.url, dry_run=True, report=lines.append)
    assert (plan.version, plan.deployed_model_id) == (2, "")
    assert server.changing_calls() == []
    assert len(server.calls) <= 5
    assert registry.deployment("production").generation == before
    text = "\n".join(lines)
    assert "would upload version 2" in text
    assert f"would set the traffic to {{'{first.deployed_model_id}': 70, 'new': 30}}" in text
    assert f"would undeploy {first.deployed_model_id}" in text


@pytest.mark.parametrize("dry_run", [False, True])
def test_where_nothing_was_promoted_yet_the_component_says_so_and_succeeds(server, tmp_path, capsys, dry_run):
    given = {"project": "p", "location": "region-1", "api_endpoint": server.url, "dry_run": dry_run}
    assert component.python_func(registry=str(tmp_path), **given) == ("", "")
    assert f"There is nothing to deploy: the registry {tmp_path} has no champion yet." in capsys.readouterr().out


def test_an_api_that_cannot_be_reached_is_reported_in_a_sentence(server, tmp_path):
    registry = Registry("gs://bucket/registry")
    promote(registry, tmp_path, "first")
    deploy_to_ai_platform(registry.uri, SETTINGS, api_endpoint=server.url, poll_seconds=0.01)
    server.faults = [Fault("GetEndpoint", times=-1)]
    with pytest.raises(UserError, match=r"AI Platform can't be reached: get_endpoint failed .* Try again later"):
        deploy_to_ai_platform(registry.uri, SETTINGS, api_endpoint=server.url, pause_seconds=0.01)


def test_the_component_deploys_and_gives_its_outputs(server, tmp_path):
    registry = Registry("gs://bucket/registry")
    promote(registry, tmp_path, "first")
    found = component.python_func(
        registry=registry.uri,
        project="p",
        location="region-1",
        drain_seconds=0.0,
        smoke_answers=3,
        api_endpoint=server.url,
    )
    assert found.endpoint == "projects/p/locations/region-1/endpoints/kfp-bert-production"
    assert found.deployed_model_id.isdigit()


def test_the_history_lists_what_happened(server, tmp_path):
    registry = Registry("gs://bucket/registry")
    promote(registry, tmp_path, "first")
    deploy_to_ai_platform(registry.uri, SETTINGS, api_endpoint=server.url, poll_seconds=0.01)
    promote(registry, tmp_path, "second")
    server.cloud.predictor = lambda uri, instances: [{"label": "calm"}] * len(instances)
    with pytest.raises(RolloutError):
        deploy_to_ai_platform(registry.uri, SETTINGS, api_endpoint=server.url, poll_seconds=0.01)
    story = [event.text for event in registry.history()]
    assert any("Version 1 went live on production" in line for line in story)
    assert any("rollout of version 2 to production failed" in line for line in story)


@pytest.mark.parametrize("address", ["http://example.com", "http://10.0.0.1:80"])
def test_plain_http_to_another_machine_is_refused(tmp_path, address):
    with pytest.raises(UserError, match="use https"):
        deploy_to_ai_platform(str(tmp_path), SETTINGS, api_endpoint=address)


def test_models_and_the_endpoint_are_labelled_with_their_run(server, tmp_path):
    run = "7ce82970-d2e6-40eb-b980-9dcaf816aab0"
    registry = Registry("gs://bucket/registry", origin=Origin(run_id=run))

    def labels(**origin):
        deploy_to_ai_platform(
            registry.uri, SETTINGS, api_endpoint=server.url, poll_seconds=0.01, origin=Origin(**origin)
        )
        (endpoint,) = server.cloud.endpoints.values()
        models = [one for versions in server.cloud.models.values() for one in versions]
        return dict(models[-1].labels).get("kfp-bert-run"), dict(endpoint.labels).get("kfp-bert-run")

    promote(registry, tmp_path, "first")
    assert labels(run_id=run, run_name="Nightly") == (run, run)
    registry.origin = Origin(run_name="Nightly Run / 27 – " + "x" * 60)
    promote(registry, tmp_path, "second")
    model, endpoint = labels(workflow="train-and-deploy-qhfhp")
    assert re.fullmatch("nightly-run-27-x+-[0-9a-f]{8}", model) and len(model) == 63
    assert endpoint == "train-and-deploy-qhfhp"
    registry.origin = Origin(user="ann")
    promote(registry, tmp_path, "third")
    assert labels(user="ann") == (None, None)
