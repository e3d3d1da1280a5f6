"""After a failure the record says what gets the traffic of the endpoint, as the endpoint and the models' labels say."""

import json

import pytest

from kfp_bert_components.ai_platform import deploy_to_ai_platform
from kfp_bert_components.deployment import RolloutError
from kfp_bert_components.errors import DamagedError
from tests.support.ai_platform_operations import RefusalError
from tests.support.rollouts import ENDPOINT, QUICK

PARENT = "projects/p/locations/region-1/models/kfp-bert"


def split(world, *shares):
    """Somebody sets the traffic of the deployed models, in their order."""
    numbers = [one.id for one in world.endpoint.deployed_models]
    world.server.cloud.split_traffic(
        world.endpoint, {n: share for n, share in zip(numbers, shares, strict=True) if share}
    )


def fail_the_next(world, **given):
    world.wrong = {world.promote()}
    with pytest.raises(RolloutError, match="its answer to"):
        world.deploy(**given)


def plan(world):
    """The lines of a dry run."""
    lines = []
    deploy_to_ai_platform(world.registry.uri, QUICK, api_endpoint=world.server.url, dry_run=True, report=lines.append)
    return lines


def said(world):
    """The version that the record calls live, and whether it knows that."""
    record = world.registry.deployment("production")
    return record.live_version, record.live_is_known


def test_a_warm_version_that_was_given_the_traffic_is_what_serves(world):
    world.deploy(keep_warm=True)
    split(world, 100, 0)
    fail_the_next(world, keep_warm=True)
    assert (world.versions_serving(), said(world)) == ({1: 100}, (1, True))
    world.promote(), world.promote()
    assert world.registry.gc(keep=1).keep[1] == "live on production"
    world.registry.rollback(1)
    world.deploy(keep_warm=True)
    assert world.versions_serving() == {1: 100} and world.registry.deployment("production").state == "live"


def test_which_of_two_versions_with_traffic_serves_is_not_known_and_gc_keeps_both(world):
    world.deploy(keep_warm=True)
    split(world, 50, 50)
    fail_the_next(world, keep_warm=True)
    assert (world.versions_serving(), said(world)) == ({1: 50, 2: 50}, (2, False))
    assert "whether version 2 still serves is not known" in world.registry.history()[-1].text
    world.promote(), world.promote()
    assert world.registry.gc(keep=1).remove == {}
    world.deploy(keep_warm=True)
    assert said(world) == (5, True) and world.registry.gc(keep=1).remove.keys() == {1, 2, 3}


def test_traffic_that_is_split_while_a_version_is_being_finished_is_seen(world):
    world.leave("version 2: finishing", keep_warm=True)
    split(world, 50, 50)
    with pytest.raises(RolloutError, match="somebody else changed the place"):
        world.deploy(keep_warm=True)
    assert said(world) == (1, False)


def test_a_version_that_was_uploaded_from_another_address_of_the_registry_is_one_of_it(world):
    world.deploy(keep_warm=True)
    labels = world.server.cloud.models[PARENT][0].labels
    labels["kfp-bert-version"] = "0badcafe-1"
    split(world, 100, 0)
    fail_the_next(world, keep_warm=True)
    assert said(world) == (1, True)


def test_what_cannot_be_looked_at_is_not_known(world, monkeypatch):
    world.deploy(keep_warm=True)
    split(world, 100, 0)
    cloud, get = world.server.cloud, world.server.cloud.get_model

    def refuse(request):
        if request.name.endswith("@1"):
            raise RefusalError(403, "PERMISSION_DENIED", "not for you")
        return get(request)

    monkeypatch.setattr(cloud, "get_model", refuse)
    fail_the_next(world, keep_warm=True)
    assert said(world) == (2, False)


@pytest.mark.parametrize("change", ["another registry", "another fingerprint", "no label", "not a version"])
def test_what_the_labels_do_not_call_a_version_of_this_registry_is_none(world, change):
    world.deploy(keep_warm=True)
    labels = world.server.cloud.models[PARENT][0].labels
    labels.update(
        {
            "another registry": {"kfp-bert-registry": "other"},
            "another fingerprint": {"kfp-bert-fingerprint": "f" * 32},
            "not a version": {"kfp-bert-version": "x-y"},
            "no label": {"kfp-bert-version": ""},
        }[change]
    )
    split(world, 100, 0)
    fail_the_next(world, keep_warm=True)
    assert said(world) == (None, True)


@pytest.mark.parametrize("lost", ["endpoint", "model"])
def test_labels_that_were_lost_after_a_first_failure_are_made_up_for_by_the_record(world, lost):
    world.server.cloud.endpoints.clear(), world.server.cloud.models.clear()
    world.registry.store.delete("deployments/production.json")
    world.wrong = {2}
    with pytest.raises(RolloutError, match="its answer to"):
        world.deploy()
    if lost == "endpoint":
        world.endpoint.labels = {}
    for one in world.server.cloud.models[PARENT] if lost == "model" else ():
        one.labels = {}
    world.promote()
    plan(world)
    world.deploy()
    assert world.versions_serving() == {3: 100}


@pytest.mark.parametrize("lost", ["endpoint", "traffic"])
def test_a_version_that_was_lost_while_it_was_finished_does_not_keep_the_champion_from_being_rolled_out(world, lost):
    world.leave("version 2: finishing")
    if lost == "endpoint":
        del world.server.cloud.endpoints[ENDPOINT]
    else:
        split(world, 100, 0)
    world.promote()
    planned, done = plan(world), []
    world.deploy(report=done.append)
    assert world.versions_serving() == {3: 100} and "version 2: failed" in done
    first = [one for one in planned if "would undeploy" in one][:1]
    assert lost == "endpoint" or planned.index(first[0]) > planned.index("would test it with texts of the test split")


def test_a_dry_run_says_that_the_endpoint_of_a_rollout_under_way_is_gone(world):
    world.leave("gets 50 %")
    del world.server.cloud.endpoints[ENDPOINT]
    assert plan(world)[-1] == (
        "would end it as failed: its endpoint was deleted meanwhile, and another run has to create a new one"
    )
    with pytest.raises(RolloutError, match="was deleted meanwhile"):
        world.deploy()
    world.deploy()


@pytest.mark.parametrize("name, wrong", [("endpoint", ""), ("endpoint", "x"), ("endpoint", "/"), ("model", "m@1")])
def test_a_name_in_the_record_that_is_no_full_name_is_damage(world, name, wrong):
    world.leave("version 2: testing")
    store, path = world.registry.store, "deployments/production.json"
    record = json.loads(store.read(path).data)
    record["details"]["facts"][name] = wrong
    store.write(path, json.dumps(record).encode())
    words = f"{name} is '{wrong}', which is no full name"
    assert [one for one in world.registry.verify() if words in one]
    for run in (plan, type(world).deploy):
        with pytest.raises(DamagedError, match=words):
            run(world)
