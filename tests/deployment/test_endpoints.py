"""Which endpoint is meant: it is one place however it is named, the record names it, and the default stays."""

import json

import pytest
from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform import AiPlatformSettings, AiPlatformTarget
from kfp_bert_components.cli.deploy_command import deploy_command
from kfp_bert_components.deployment import (
    DirectoryTarget,
    ForeignOwnerError,
    LeaseLostError,
    RolloutError,
    deploy_to_serving_directory,
)
from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry
from tests.support.ai_platform_server import Fault
from tests.support.directories import promote_graph
from tests.support.places import world
from tests.support.rollouts import ENDPOINT, World
from tests.support.stores import gcs, place, s3

__all__ = ["gcs", "place", "s3", "world"]
PARENT = "projects/p/locations/region-1/endpoints"


def serving(world):
    """Share of traffic by registry version, by the id of the endpoint."""
    found = {}
    for name, endpoint in world.server.cloud.endpoints.items():
        versions = {one.id: int(one.display_name.split(" v")[1].split()[0]) for one in endpoint.deployed_models}
        found[name.rsplit("/", 1)[-1]] = {versions[number]: share for number, share in endpoint.traffic_split.items()}
    return found


def recorded(world, target="production"):
    record = world.registry.deployment(target)
    others = {one.place["endpoint"]: one.live_version for one in record.elsewhere()}
    return record.state, record.version, record.place["endpoint"], others


# The default


def test_an_endpoint_that_was_named_once_is_the_default_and_a_rollback_goes_there(world):
    world.deploy(endpoint="bee")
    bad = world.promote()
    world.deploy()
    assert (serving(world), recorded(world)) == ({"bee": {bad: 100}}, ("live", bad, "bee", {}))
    world.registry.rollback()
    assert " -p endpoint=bee " in deploy_command(world.registry.uri, world.registry.deployment("production"))
    world.deploy(endpoint="bee")
    assert (serving(world), recorded(world)) == ({"bee": {1: 100}}, ("live", 1, "bee", {}))


def test_of_two_endpoints_the_default_is_the_one_that_the_record_is_about(world):
    for name in ("eu", "us", "eu"):
        world.deploy(endpoint=name)
    world.promote()
    world.deploy()
    assert (serving(world), recorded(world)) == ({"eu": {2: 100}, "us": {1: 100}}, ("live", 2, "eu", {"us": 1}))
    world.deploy(project="other")  # nothing is known there
    assert f"{PARENT.replace('/p/', '/other/')}/kfp-bert-production" in world.server.cloud.endpoints
    world.promote()
    world.deploy()
    assert serving(world)["eu"] == {3: 100}


def test_the_endpoint_with_the_default_id_stays_the_default_though_another_one_is_named_in_between(world):
    world.deploy()
    world.deploy(endpoint="trial")
    world.promote()
    world.deploy()
    assert serving(world) == {"kfp-bert-production": {2: 100}, "trial": {1: 100}}
    assert recorded(world) == ("live", 2, "kfp-bert-production", {"trial": 1})


@pytest.mark.parametrize("take_over", [False, True])
def test_an_endpoint_of_another_registry_is_not_the_default(world, take_over):
    world.deploy(endpoint="bee", model_id="bee")
    theirs, labels = serving(world), dict(world.server.cloud.endpoints[f"{PARENT}/bee"].labels)
    other = World("gs://bucket/other", world.server)
    other.promote()
    other.deploy(take_over=take_over)
    assert serving(world) == {**theirs, "kfp-bert-production": {1: 100}}
    assert dict(world.server.cloud.endpoints[f"{PARENT}/bee"].labels) == labels
    assert recorded(other) == ("live", 1, "kfp-bert-production", {})


def test_a_default_that_has_a_number_and_is_gone_is_an_error_that_says_what_to_do(world):
    world.server.cloud.endpoints[f"{PARENT}/77"] = v1.Endpoint(name=f"{PARENT}/77", display_name="x", etag="x")
    world.deploy(endpoint="77")
    del world.server.cloud.endpoints[f"{PARENT}/77"]
    with pytest.raises(UserError, match=r"no endpoint 77 in .*such as endpoint='kfp-bert-production', to create it"):
        world.deploy()
    world.deploy(endpoint="kfp-bert-production")
    assert serving(world) == {"kfp-bert-production": {1: 100}}
    world.promote()
    world.deploy()
    assert recorded(world) == ("live", 2, "kfp-bert-production", {"77": 1})


def test_a_record_that_names_an_endpoint_in_the_words_of_an_older_step_is_read_by_its_id(world):
    world.deploy(endpoint="bee")
    name, store = "deployments/production.json", world.registry.store
    value = json.loads(store.read(name).data)
    for words in ("kfp-bert-production", "label:team=x"):
        store.write(name, json.dumps({**value, "place": {**value["place"], "endpoint": words}}).encode())
        assert recorded(world) == ("live", 1, "bee", {})
    world.promote()
    world.deploy()
    assert (serving(world), recorded(world)) == ({"bee": {2: 100}}, ("live", 2, "bee", {}))


# One place, several names


NUMBERED = ENDPOINT.replace("/p/", "/123/")
NAMES = [
    {"endpoint": "label:team=x"},
    {"endpoint": "kfp-bert-production"},
    {"endpoint": ENDPOINT},
    {},
    {"project": "123"},
    {"endpoint": NUMBERED},
]


@pytest.mark.parametrize("first", range(len(NAMES) - 1))
def test_an_endpoint_named_in_several_ways_in_turn_is_one_place(world, first):
    world.server.project_numbers = {"p": "123"}
    version = 1
    for given in [*NAMES[first:], *NAMES[:first], NAMES[first]]:
        world.deploy(labels={"team": "x"}, **given)
        assert serving(world) == {"kfp-bert-production": {version: 100}}, given
        assert recorded(world) == ("live", version, "kfp-bert-production", {}), given
        (endpoint,) = world.server.cloud.endpoints.values()
        assert (endpoint.name, len(endpoint.deployed_models)) == (NUMBERED, 1), given
        world.server.calls.clear()
        for other in NAMES:
            world.deploy(labels={"team": "x"}, **other)
        assert world.server.changing_calls() == []
        version = world.promote()


def test_the_default_is_known_with_the_projects_number_too(world):
    world.server.project_numbers = {"p": "123"}
    world.deploy(project="123", endpoint="bee")
    world.promote()
    world.deploy()
    assert (serving(world), recorded(world)) == ({"bee": {2: 100}}, ("live", 2, "bee", {}))


def test_a_rollout_that_stopped_when_it_had_made_the_endpoint_goes_on_under_another_name(world, monkeypatch):
    world.server.project_numbers = {"p": "123"}
    with monkeypatch.context() as patch, pytest.raises(LeaseLostError):
        patch.setattr(AiPlatformTarget, "introduce", stopped)
        world.deploy()
    world.deploy(project="123")
    assert (serving(world), recorded(world)) == (
        {"kfp-bert-production": {1: 100}},
        ("live", 1, "kfp-bert-production", {}),
    )
    record = world.registry.deployment("production")
    assert record.details["facts"]["attempt"] == 1


def test_the_same_name_in_another_project_is_another_place(world):
    world.deploy(project="123")
    world.deploy(project="456")
    assert list(world.server.cloud.endpoints) == [ENDPOINT.replace("/p/", f"/{one}/") for one in ("123", "456")]
    world.deploy()  # the project p has none with this name, whatever its number is
    assert ENDPOINT in world.server.cloud.endpoints


def test_a_full_name_of_another_projects_number_is_refused(world):
    named = ENDPOINT.replace("/p/", "/999/")
    with pytest.raises(UserError, match=f"There is no endpoint {named} in projects/p/"):
        world.deploy(endpoint=named)
    world.server.project_numbers = {"p": "123"}
    world.deploy()
    world.server.calls.clear()
    with pytest.raises(UserError, match=f"endpoint is '{named}', and project and location are '123' and 'region-1'"):
        world.deploy(endpoint=named)
    assert world.server.changing_calls() == []


def test_a_live_champion_by_a_label_is_left_alone_though_calls_fail(world):
    world.deploy(endpoint="label:team=a")
    for method in ("ListEndpoints", "GetEndpoint"):
        world.server.faults, world.server.calls = [Fault(method, times=2)], []
        world.deploy(endpoint="label:team=a")
        assert world.server.changing_calls() == [] and len(world.server.calls) == 4


@pytest.mark.parametrize(
    "given",
    ["label:a=b=c", 'label:a=b"c', "label:a=b,c", f"label:a={'x' * 64}", "label:1=2", "label:a=B", "label:a=b c"],
)
def test_a_label_that_nothing_can_have_is_refused(given):
    with pytest.raises(UserError, match=f"^endpoint is '{given}': expected in its label (up to 63 letters|no capital)"):
        AiPlatformSettings(project="p", location="l", endpoint=given)


@pytest.mark.parametrize("given", ["label:", "label:team", "label:=x", "label:team="])
def test_a_label_without_a_value_is_refused(world, given):
    with pytest.raises(UserError, match=f"endpoint is '{given}': expected an id, .*or label:key=value"):
        world.deploy(endpoint=given)


# Owners


def test_targets_whose_names_differ_in_signs_and_case_have_an_endpoint_each(world):
    targets = ["eu-shop", "eu.shop", "EU-shop", "eu_shop", "s" * 40, "s" * 41, "s" * 42]
    for version in (1, 2):
        for target in targets:
            world.deploy(target=target)
            assert recorded(world, target)[:2] == ("live", version)
        assert list(serving(world).values()) == [{version: 100}] * len(targets)
        world.promote()
    assert {"kfp-bert-eu-shop", f"kfp-bert-{'s' * 40}"} <= set(serving(world))
    with pytest.raises(ForeignOwnerError, match="belongs to the target 'eu-shop-"):
        world.deploy(endpoint=recorded(world, "eu.shop")[2], target="EU-shop")


def test_an_endpoint_whose_label_is_from_before_is_adopted_by_the_record_that_names_it(world):
    world.deploy(endpoint="kfp-bert-eu-shop", target="eu.shop")
    endpoint = world.server.cloud.endpoints[f"{PARENT}/kfp-bert-eu-shop"]
    endpoint.labels["kfp-bert-target"] = "eu-shop"
    with pytest.raises(ForeignOwnerError, match="belongs to the target 'eu-shop' of"):
        world.deploy(endpoint="kfp-bert-eu-shop", target="eu_shop")
    world.server.calls.clear()
    world.deploy(target="eu.shop")
    assert world.server.changing_calls() == []
    world.promote()
    world.deploy(target="eu.shop")
    assert (serving(world), recorded(world, "eu.shop")[2]) == ({"kfp-bert-eu-shop": {2: 100}}, "kfp-bert-eu-shop")
    with pytest.raises(ForeignOwnerError, match="belongs to the target 'eu-shop-"):
        world.deploy(target="eu-shop")


def test_a_name_that_another_registry_has_does_not_adopt_its_endpoint(world):
    world.deploy(endpoint="kfp-bert-eu-shop", target="eu.shop")
    endpoint = world.server.cloud.endpoints[f"{PARENT}/kfp-bert-eu-shop"]
    endpoint.labels = {"kfp-bert-registry": "0123456789abcdef", "kfp-bert-target": "eu-shop"}
    world.promote()
    with pytest.raises(ForeignOwnerError, match="of the registry with the id 0123456789abcdef"):
        world.deploy(target="eu.shop")


def test_an_endpoint_that_another_target_took_over_is_not_taken_back_by_the_record_that_named_it(world):
    world.deploy()
    world.promote()
    world.deploy(target="staging", endpoint="kfp-bert-production", take_over=True)
    world.promote()
    with pytest.raises(ForeignOwnerError, match="belongs to the target 'staging' of"):
        world.deploy()
    assert recorded(world)[:2] == ("failed", 1)


# A place that was taken over in the middle of a rollout


def stopped(*arguments):
    raise LeaseLostError("the run stopped here")


def test_a_rollout_to_an_endpoint_that_was_taken_over_meanwhile_is_recorded_as_failed(world, monkeypatch):
    world.deploy()
    world.promote()
    with monkeypatch.context() as patch, pytest.raises(LeaseLostError):
        patch.setattr(AiPlatformTarget, "test", stopped)
        world.deploy()
    other = World("gs://bucket/other", world.server)
    other.promote()
    other.deploy(take_over=True)
    assert recorded(world)[:2] == ("rolling", 2)
    for _ in range(2):
        with pytest.raises(ForeignOwnerError):
            world.deploy()
        record = world.registry.deployment("production")
        assert (record.state, record.version, record.live_version) == ("failed", 2, None)
        assert "belongs to" in record.reason
    assert world.deploy(take_over=True)["version"] == 2
    assert (serving(world), recorded(world)[:2]) == ({"kfp-bert-production": {2: 100}}, ("live", 2))


def test_a_rollout_to_a_folder_that_was_taken_over_meanwhile_is_recorded_as_failed(place, tmp_path, monkeypatch):
    ours, theirs, folder = Registry(f"{place}/ours"), Registry(f"{place}/theirs"), f"{place}/serving"
    promote_graph(ours, tmp_path / "ours", "first")
    promote_graph(theirs, tmp_path / "theirs", "other")
    deploy_to_serving_directory(ours.uri, folder)
    promote_graph(ours, tmp_path / "ours", "second")
    with monkeypatch.context() as patch, pytest.raises(LeaseLostError):
        patch.setattr(DirectoryTarget, "test", stopped)
        deploy_to_serving_directory(ours.uri, folder)
    deploy_to_serving_directory(theirs.uri, folder, take_over=True)
    for _ in range(2):
        with pytest.raises(ForeignOwnerError):
            deploy_to_serving_directory(ours.uri, folder)
        record = ours.deployment("production")
        assert (record.state, record.version, record.live_version) == ("failed", 2, None)
        assert "/theirs" in record.reason
    deploy_to_serving_directory(ours.uri, f"{place}/elsewhere")
    record = ours.deployment("production")
    assert (record.state, [one.live_version for one in record.elsewhere()]) == ("live", [None])


def test_a_rollout_that_only_the_parent_model_stops_can_still_go_on(world, monkeypatch):
    world.deploy()
    other = World("gs://bucket/other", world.server)
    other.promote()
    other.deploy(endpoint="bee", model_id="theirs")
    world.promote()
    with monkeypatch.context() as patch, pytest.raises(LeaseLostError):
        patch.setattr(AiPlatformTarget, "test", stopped)
        world.deploy()
    before = world.registry.deployment("production")
    with pytest.raises(RolloutError, match="models/theirs belongs to"):
        world.deploy(model_id="theirs")
    assert world.registry.deployment("production") == before and before.details["step"] == "testing"
    world.deploy()
    assert recorded(world)[:2] == ("live", 2)
