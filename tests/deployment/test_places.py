"""A record is about one place, a place belongs to one owner, and whether the champion is live is looked at."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.cli.deploy_command import deploy_command
from kfp_bert_components.deployment import RolloutError, deploy_to_serving_directory, open_versioned_folder
from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import open_store
from tests.support.ai_platform_server import AiPlatformServer
from tests.support.directories import promote_graph
from tests.support.rollouts import ENDPOINT, QUICK, World, deploy_to
from tests.support.stores import gcs, place

__all__ = ["gcs", "place"]
MODEL = "projects/p/locations/region-1/models/kfp-bert"


@pytest.fixture
def world(gcs):
    with AiPlatformServer() as server:
        world = World("gs://bucket/registry", server)
        world.promote()
        yield world


def downgrade(registry: Registry) -> None:
    """Make of the record what version 0.1.0 would have written."""
    name = "deployments/production.json"
    record = json.loads(registry.store.read(name).data)
    for field in ("place", "served", "live_served"):
        del record[field]
    details = record["details"]
    for facts in (details["facts"], details["live"].get("facts", {})):
        for field in ("served", "fingerprint", "holder", "place", "ours", "others"):
            facts.pop(field, None)
    del details["memory"], details["elsewhere"]
    registry.store.write(name, json.dumps({**record, "format": 1}).encode())


# The identity of a place


def test_another_folder_is_another_deployment_and_the_first_one_is_known_again(place, tmp_path):
    registry = Registry(f"{place}/registry")
    promote_graph(registry, tmp_path, "first")
    for name in ("a", "b"):
        deployed = deploy_to_serving_directory(registry.uri, f"{place}/{name}")
        assert (deployed.serving_uri, deployed.version) == (f"{place}/{name}/1", 1)
        record = registry.deployment("production")
        assert (record.state, record.place["uri"], record.served) == ("live", f"{place}/{name}", "1")
    assert deploy_to_serving_directory(registry.uri, f"{place}/a").serving_uri == f"{place}/a/1"
    back = registry.deployment("production")  # it is live there: the record turns to it, and nothing else is done
    assert (back.state, back.place["uri"], back.live_served) == ("live", f"{place}/a", "1")
    assert open_versioned_folder(f"{place}/a").complete() == [1]
    deploy_to_serving_directory(registry.uri, f"{place}/a")
    assert registry.deployment("production") == back
    promote_graph(registry, tmp_path, "second")
    deploy_to_serving_directory(registry.uri, f"{place}/a")
    record = registry.deployment("production")
    assert (record.live_version, record.live_served, record.place["uri"]) == (2, "2", f"{place}/a")
    assert open_versioned_folder(f"{place}/b").complete() == [1]


def test_a_folder_that_was_deleted_is_found_by_looking(tmp_path):
    registry, folder = Registry(str(tmp_path / "registry")), tmp_path / "serving"
    promote_graph(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, str(folder))
    shutil.rmtree(folder)
    assert not registry.deployment_pending("production")  # the record alone does not know
    deployed = deploy_to_serving_directory(registry.uri, str(folder))
    assert deployed.serving_uri == f"{folder}/2"  # a server may have the old 1 in memory
    assert open_versioned_folder(str(folder)).complete() == [2]


def test_another_content_under_the_same_number_is_not_live(place, tmp_path):
    registry, folder = Registry(f"{place}/registry"), f"{place}/serving"
    promote_graph(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, folder)
    seen = open_versioned_folder(folder)
    seen.remove(1)
    other = tmp_path / "other"
    (other / "assets.extra").mkdir(parents=True)
    (other / "saved_model.pb").write_text("another graph")
    metadata = {"format": 1, "fingerprint": "another", "registry_version": 1}
    (other / "assets.extra" / "bundle.json").write_text(json.dumps(metadata))
    seen.add(other, 1)
    assert deploy_to_serving_directory(registry.uri, folder).serving_uri == f"{folder}/2"


def test_after_a_rollback_the_record_names_the_place_that_was_deployed_to_last(place, tmp_path):
    registry = Registry(f"{place}/registry")
    promote_graph(registry, tmp_path, "first")
    promote_graph(registry, tmp_path, "second")
    for name in ("prod", "test", "prod"):
        deploy_to_serving_directory(registry.uri, f"{place}/{name}")
    registry.rollback()
    command = deploy_command(registry.uri, registry.deployment("production"))
    assert f"serving_directory={place}/prod " in command
    deploy_to_serving_directory(registry.uri, f"{place}/prod")
    record = registry.deployment("production")
    assert (record.state, record.live_version, record.place["uri"]) == ("live", 1, f"{place}/prod")
    seen = open_versioned_folder(f"{place}/prod")
    assert seen.registry_version(max(seen.complete())) == 1
    deploy_to_serving_directory(registry.uri, f"{place}/test")  # what is known of the other place was kept
    assert open_versioned_folder(f"{place}/test").complete() == [1, 2]


def test_a_place_where_it_is_live_is_not_written_over_a_rollout_to_another_place(tmp_path):
    registry, a = Registry(str(tmp_path / "registry")), str(tmp_path / "a")
    promote_graph(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, a)
    known = registry.deployment("production")
    entry = {"state": "live", "version": 1, "reason": "", **known.details}
    rolling = {"step": "testing", "holder": "another run", "facts": {"attempt": 1, "number": 7}}
    rolling["elsewhere"] = {" ".join(known.place.values()): entry}
    b = {"kind": "serving directory", "uri": str(tmp_path / "b")}
    registry.record_deployment("production", "rolling", 1, details=rolling, place=b)
    began = time.monotonic()
    deploy_to_serving_directory(registry.uri, a, lease_seconds=1)
    assert time.monotonic() - began > 1  # it waited for the end of the other run's lease
    record = registry.deployment("production")
    assert (record.state, record.place["uri"]) == ("live", a)
    assert record.details["elsewhere"][" ".join(b.values())]["facts"]["number"] == 7


@pytest.mark.parametrize("name", ["part0", "saved_model.pb"])
@pytest.mark.parametrize("longer", [0, 1])
def test_a_version_whose_files_are_not_those_of_the_registry_is_not_live(place, tmp_path, name, longer, capsys):
    registry, folder = Registry(f"{place}/registry"), f"{place}/serving"
    promote_graph(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, folder)
    store = open_store(folder)
    good = store.read(f"1/{name}").data
    if not longer and not place.startswith("gs://"):
        longer = -1  # a local folder lists no checksums: sizes are compared
    store.write(f"1/{name}", b"x" * (len(good) + longer))
    deployed = deploy_to_serving_directory(registry.uri, folder)
    assert deployed.serving_uri == f"{folder}/2"
    assert store.read(f"2/{name}").data == good
    assert f"{folder}/1/{name} is not the file of version 1" in capsys.readouterr().out
    record = registry.deployment("production")
    assert (record.state, record.live_served) == ("live", "2")
    assert deploy_to_serving_directory(registry.uri, folder) == deployed


def test_a_version_that_lost_its_weights_is_not_live(place, tmp_path, capsys):
    registry, folder = Registry(f"{place}/registry"), f"{place}/serving"
    promote_graph(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, folder)
    open_store(folder).delete("1/part0")
    assert deploy_to_serving_directory(registry.uri, folder).serving_uri == f"{folder}/2"
    assert f"{folder}/1 lacks part0 of version 1" in capsys.readouterr().out


@pytest.mark.parametrize("change", [{"project": "prod"}, {"location": "region-2"}, {"endpoint": "other"}])
def test_another_project_location_or_endpoint_is_another_deployment(world, change):
    first = world.deploy()["facts"]["endpoint"]
    before = world.registry.deployment("production")
    live = world.deploy(**change)
    assert live["facts"]["endpoint"] != first
    assert set(world.server.cloud.endpoints) == {first, live["facts"]["endpoint"]}
    for name in (first, live["facts"]["endpoint"]):
        assert list(world.server.cloud.endpoints[name].traffic_split.values()) == [100]
    record = world.registry.deployment("production")
    assert record.place != before.place
    assert {"kind": "AI Platform endpoint", **change}.items() <= record.place.items()
    world.server.calls.clear()
    world.deploy()
    back = world.registry.deployment("production")
    assert (back.place, back.live_served) == (before.place, before.live_served)
    world.deploy(**change)
    assert world.registry.deployment("production").place == record.place
    assert world.server.changing_calls() == []  # both are live


def test_a_rollout_to_another_place_that_was_killed_is_left_for_its_own_place(place, tmp_path):
    registry = Registry(f"{place}/registry")
    promote_graph(registry, tmp_path, "first")
    rolling = {"step": "testing", "holder": "", "facts": {"attempt": 1, "number": 7}, "memory": {"number": 7}}
    a = {"kind": "serving directory", "uri": f"{place}/a"}
    registry.record_deployment("production", "rolling", 1, details=rolling, place=a)
    deploy_to_serving_directory(registry.uri, f"{place}/b")
    assert open_versioned_folder(f"{place}/b").complete() == [1]
    deploy_to_serving_directory(registry.uri, f"{place}/a")
    assert open_versioned_folder(f"{place}/a").complete() == [8]


# What a champion that is live costs


def test_a_live_champion_costs_at_most_five_reads_on_a_folder(gcs, tmp_path):
    registry, folder = Registry("gs://bucket/registry"), "gs://bucket/serving"
    promote_graph(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, folder)
    before = len(gcs.requests)
    deploy_to_serving_directory(registry.uri, folder)
    made = gcs.requests[before:]
    assert len(made) <= 5, made
    assert {method for method, _ in made} == {"GET"}


def test_a_live_champion_costs_at_most_five_reads_on_an_endpoint(world, gcs):
    world.deploy()
    before = len(gcs.requests)
    world.server.calls.clear()
    world.deploy()
    made = [*gcs.requests[before:], *(("GET", one) for one in world.server.calls)]
    assert len(made) <= 5, made
    assert {method for method, _ in made} == {"GET"}
    assert world.server.changing_calls() == []


# Owners


def test_a_folder_of_another_registry_or_target_is_refused_and_not_touched(place, tmp_path):
    ours, theirs, folder = Registry(f"{place}/ours"), Registry(f"{place}/theirs"), f"{place}/serving"
    promote_graph(ours, tmp_path / "ours", "first")
    promote_graph(theirs, tmp_path / "theirs", "other")
    deploy_to_serving_directory(ours.uri, folder)
    for registry, target in ((theirs, "production"), (ours, "staging")):
        with pytest.raises(RolloutError, match=r"belongs to the target 'production' of .*/ours\. .* or take_over=True"):
            deploy_to_serving_directory(registry.uri, folder, target)
        assert registry.deployment(target).state == "none"
    seen = open_versioned_folder(folder)
    assert (seen.complete(), seen.registry_version(1)) == ([1], 1)
    deployed = deploy_to_serving_directory(theirs.uri, folder, take_over=True)
    assert deployed.serving_uri == f"{folder}/2"
    with pytest.raises(RolloutError, match="belongs to the target 'production' of .*/theirs"):
        deploy_to_serving_directory(ours.uri, folder)
    assert deploy_to_serving_directory(theirs.uri, folder) == deployed


@pytest.mark.parametrize("promoted", [False, True])
def test_the_record_of_a_folder_that_was_taken_over_does_not_say_live_for_good(place, tmp_path, promoted):
    ours, theirs, folder = Registry(f"{place}/ours"), Registry(f"{place}/theirs"), f"{place}/serving"
    promote_graph(ours, tmp_path / "ours", "first")
    promote_graph(theirs, tmp_path / "theirs", "other")
    deploy_to_serving_directory(ours.uri, folder)
    deploy_to_serving_directory(theirs.uri, folder, take_over=True)
    if promoted:
        promote_graph(ours, tmp_path / "ours", "second")
    for _ in range(2):
        with pytest.raises(RolloutError, match="belongs to the target 'production' of .*/theirs"):
            deploy_to_serving_directory(ours.uri, folder)
        record = ours.deployment("production")
        assert (record.state, record.live_version, record.live_served) == ("failed", None, "")
        assert "/theirs" in record.reason
    assert len(record.log) == len({(one["state"], one["reason"]) for one in record.log})  # once
    assert deploy_to_serving_directory(ours.uri, folder, take_over=True).serving_uri == f"{folder}/3"
    assert ours.deployment("production").state == "live"


def test_a_refusal_where_our_version_serves_still_leaves_the_record(place, tmp_path):
    ours, theirs, folder = Registry(f"{place}/ours"), Registry(f"{place}/theirs"), f"{place}/serving"
    promote_graph(ours, tmp_path / "ours", "first")
    promote_graph(theirs, tmp_path / "theirs", "other")
    deploy_to_serving_directory(ours.uri, folder)
    owner, generation = open_versioned_folder(folder).read_owner()
    open_versioned_folder(folder).write_owner(replace(owner, registry=theirs.id(), registry_uri=theirs.uri), generation)
    promote_graph(ours, tmp_path / "ours", "second")
    record = ours.deployment("production")
    with pytest.raises(RolloutError, match="belongs to"):
        deploy_to_serving_directory(ours.uri, folder)
    assert ours.deployment("production") == record


def test_a_taken_over_folder_never_sees_a_number_of_its_former_owner_again(place, tmp_path):
    ours, theirs, folder = Registry(f"{place}/ours"), Registry(f"{place}/theirs"), f"{place}/serving"
    promote_graph(ours, tmp_path / "ours", "first")
    promote_graph(theirs, tmp_path / "theirs", "other")
    for _ in range(3):
        deploy_to_serving_directory(ours.uri, folder)
        open_versioned_folder(folder).remove(max(open_versioned_folder(folder).complete()))
    assert deploy_to_serving_directory(theirs.uri, folder, take_over=True).serving_uri == f"{folder}/4"


def test_a_folder_without_a_marker_is_adopted_by_the_record_that_names_it_and_refused_to_others(place, tmp_path):
    ours, theirs, folder = Registry(f"{place}/ours"), Registry(f"{place}/theirs"), f"{place}/serving"
    promote_graph(ours, tmp_path / "ours", "first")
    promote_graph(theirs, tmp_path / "theirs", "other")
    deploy_to_serving_directory(ours.uri, folder)
    remove_marker(folder)
    downgrade(ours)
    with pytest.raises(RolloutError, match=r"holds versions \(1\), and nothing says whose it is: .*take_over=True"):
        deploy_to_serving_directory(theirs.uri, folder)
    record = ours.deployment("production")
    assert deploy_to_serving_directory(ours.uri, folder).serving_uri == f"{folder}/1"
    assert ours.deployment("production") == record
    promote_graph(ours, tmp_path / "ours", "second")
    assert deploy_to_serving_directory(ours.uri, folder).serving_uri == f"{folder}/2"
    owner, _ = open_versioned_folder(folder).read_owner()
    assert (owner.registry, owner.target, owner.number) == (ours.id(), "production", 2)


def test_versions_that_nobody_is_named_for_are_not_served_over(place, tmp_path):
    registry, folder = Registry(f"{place}/registry"), f"{place}/serving"
    promote_graph(registry, tmp_path, "first")
    open_store(folder).write("5/saved_model.pb", b"another team's")
    with pytest.raises(RolloutError, match=r"holds versions \(5\), and nothing says whose it is: .*take_over=True"):
        deploy_to_serving_directory(registry.uri, folder)
    assert open_versioned_folder(folder).complete() == [5]
    assert registry.deployment("production").state == "none"
    assert deploy_to_serving_directory(registry.uri, folder, take_over=True).serving_uri == f"{folder}/6"
    promote_graph(registry, tmp_path, "second")
    assert deploy_to_serving_directory(registry.uri, folder).serving_uri == f"{folder}/7"
    assert open_versioned_folder(folder).complete() == [5, 6, 7]


def test_a_folder_from_before_owners_that_was_renamed_is_not_said_to_be_another_registrys(tmp_path):
    registry, folder = Registry(str(tmp_path / "registry")), tmp_path / "serving"
    promote_graph(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, str(folder))
    remove_marker(str(folder))
    downgrade(registry)
    renamed = folder.rename(tmp_path / "renamed")
    with pytest.raises(RolloutError, match="nothing says whose it is") as refused:
        deploy_to_serving_directory(registry.uri, str(renamed))
    assert "another registry" not in str(refused.value)


def remove_marker(folder):
    open_store(folder).delete(".kfp-bert-owner.json")


def other_registry(world):
    other = World("gs://bucket/other", world.server)
    other.promote()
    return other


def test_an_endpoint_of_another_registry_or_target_is_refused_and_not_touched(world):
    world.deploy()
    split, other = dict(world.endpoint.traffic_split), other_registry(world)
    world.server.calls.clear()
    with pytest.raises(RolloutError, match=rf"endpoint {ENDPOINT} belongs to the target .*take_over=True"):
        other.deploy()
    with pytest.raises(RolloutError, match="endpoint"):
        other.deploy(endpoint="kfp-bert-production")
    assert other.registry.deployment("production").state == "none"
    assert world.server.changing_calls() == []
    assert dict(world.endpoint.traffic_split) == split
    with pytest.raises(RolloutError, match=rf"model {MODEL} belongs to the registry with the id {world.registry.id()}"):
        other.deploy(endpoint="mood")
    live = other.deploy(endpoint="mood", model_id="mood")
    assert live["facts"]["endpoint"].endswith("/endpoints/mood")
    assert dict(world.endpoint.traffic_split) == split


def test_an_endpoint_that_is_taken_over_is_served_and_cleaned_by_its_new_owner(world):
    world.deploy()
    other = other_registry(world)
    live = other.deploy(take_over=True)
    assert [one.id for one in world.endpoint.deployed_models] == [live["facts"]["deployed"]]
    assert dict(world.endpoint.traffic_split) == {live["facts"]["deployed"]: 100}
    with pytest.raises(RolloutError, match="belongs to"):
        world.deploy()
    record = world.registry.deployment("production")
    assert (record.state, record.live_version) == ("failed", None) and "belongs to" in record.reason
    assert other.deploy() == live  # without take_over: it is its own now


def test_two_targets_of_one_registry_have_an_endpoint_each_and_share_the_parent_model(world):
    world.deploy()
    second = world.registry
    target = {"endpoint": "staging"}
    live = deploy_to(second, world.server.url, target="staging", **target)
    assert live["facts"]["endpoint"].endswith("/staging")
    assert [model.version_id for model in world.server.cloud.models[MODEL]] == ["1"]


def by_hand(world, name="projects/p/locations/region-1/endpoints/hand", share=60):
    """An endpoint that somebody made, with two deployed models of theirs."""
    endpoint = v1.Endpoint(name=name, display_name="by hand", etag="first", labels={"team": "a"})
    for number, one in (("77", share), ("78", 100 - share)):
        endpoint.deployed_models.append(v1.DeployedModel(id=number, model=MODEL, display_name="theirs"))
        if one:
            endpoint.traffic_split[number] = one
    world.server.cloud.endpoints[name] = endpoint
    return endpoint


def test_deployed_models_of_others_are_never_undeployed_and_keep_their_share(world):
    endpoint = by_hand(world, share=100)
    endpoint.traffic_split = {"77": 40, "78": 60}
    with pytest.raises(UserError, match=r"get 100 % of the traffic \(77, 78\): .*take_over=True"):
        world.deploy(endpoint="hand")
    assert (dict(endpoint.traffic_split), dict(endpoint.labels)) == ({"77": 40, "78": 60}, {"team": "a"})
    assert world.registry.deployment("production").state == "none"
    assert [one.id for one in endpoint.deployed_models] == ["77", "78"]


def test_others_keep_their_share_while_ours_are_replaced_and_reverted(world):
    first = world.deploy(endpoint="hand")["facts"]["deployed"]
    endpoint = world.server.cloud.endpoints["projects/p/locations/region-1/endpoints/hand"]
    endpoint.deployed_models.append(v1.DeployedModel(id="77", model=MODEL, model_version_id="1", display_name="theirs"))
    world.server.cloud.split_traffic(endpoint, {first: 70, "77": 30})
    world.server.calls.clear()
    assert world.deploy(endpoint="hand")["facts"]["deployed"] == first  # all of our share: it is live
    assert world.server.changing_calls() == []
    world.promote()
    second = world.deploy(endpoint="hand")["facts"]["deployed"]
    assert dict(endpoint.traffic_split) == {second: 70, "77": 30}
    assert {one.id for one in endpoint.deployed_models} == {second, "77"}
    shares = [split.get("77") for split in world.server.cloud.splits[endpoint.name][2:]]
    assert set(shares) == {30}
    world.wrong = {world.promote()}
    with pytest.raises(RolloutError):
        world.deploy(endpoint="hand")
    assert dict(endpoint.traffic_split) == {second: 70, "77": 30}
    assert {one.id for one in endpoint.deployed_models} == {second, "77"}


def test_an_endpoint_from_before_owners_is_adopted_by_the_record_that_names_it(world):
    first = world.deploy()["facts"]["deployed"]
    del world.endpoint.labels["kfp-bert-registry"]
    del world.server.cloud.models[MODEL][0].labels["kfp-bert-registry"]
    downgrade(world.registry)
    with pytest.raises(RolloutError, match="has no label that says whose it is"):
        other_registry(world).deploy()
    world.server.calls.clear()
    assert world.deploy()["facts"]["deployed"] == first
    assert world.server.changing_calls() == []
    world.promote()
    second = world.deploy()["facts"]["deployed"]
    assert world.endpoint.labels["kfp-bert-registry"] == world.registry.id()
    assert [one.id for one in world.endpoint.deployed_models] == [second]


@pytest.mark.parametrize("labels", [{}, {"team": "a"}])
def test_an_endpoint_that_lost_its_labels_is_known_by_the_record_and_refused_to_others(world, labels):
    first = world.deploy()["facts"]["deployed"]
    world.endpoint.labels = labels
    other = other_registry(world)
    world.server.calls.clear()
    with pytest.raises(RolloutError, match=rf"{ENDPOINT} has no label that says whose it is, .*take_over=True"):
        other.deploy(model_id="other")
    assert world.server.changing_calls() == []
    world.promote()
    second = world.deploy()["facts"]["deployed"]
    assert second != first and dict(world.endpoint.traffic_split) == {second: 100}
    assert labels.items() <= dict(world.endpoint.labels).items()
    assert world.endpoint.labels["kfp-bert-registry"] == world.registry.id()
    assert list(world.server.cloud.endpoints) == [ENDPOINT]


def test_an_endpoint_by_a_label_is_not_created_where_the_id_is_taken(world):
    world.deploy()
    world.server.calls.clear()
    with pytest.raises(UserError, match=rf"No endpoint has the label env=prod, and {ENDPOINT} exists already: "):
        world.deploy(endpoint="label:env=prod")
    assert world.server.changing_calls() == []


@pytest.mark.parametrize("endpoint", [ENDPOINT.replace("/p/", "/q/"), ENDPOINT.replace("region-1", "region-2"), "a/b"])
def test_a_full_name_of_an_endpoint_elsewhere_is_refused(endpoint):
    with pytest.raises(UserError, match=rf"endpoint is '{endpoint}'.*(project and location are|expected an id)"):
        replace(QUICK, endpoint=endpoint)
    for same in (ENDPOINT, ENDPOINT.replace("/p/", "/123/"), "label:a=b/c", "mood"):
        assert replace(QUICK, endpoint=same).endpoint == same


def test_an_endpoint_that_an_old_record_names_with_the_projects_number_is_known_as_the_same(world):
    first = world.deploy()["facts"]["deployed"]
    downgrade(world.registry)
    name = "deployments/production.json"
    store, numbered = world.registry.store, ENDPOINT.replace("projects/p/", "projects/123/")
    store.write(name, store.read(name).data.replace(ENDPOINT.encode(), numbered.encode()))
    world.endpoint.name, endpoint = numbered, world.endpoint  # as the service names it in its answers
    world.server.cloud.endpoints[numbered] = endpoint
    live = world.deploy()
    assert live["facts"]["deployed"] == first  # found there, though the record's project reads otherwise
    assert dict(endpoint.traffic_split) == {first: 100}


@pytest.mark.parametrize(
    ("name", "how"), [("a/registry", "is"), ("a/registry/versions", "lies inside"), ("a", "holds"), ("", "holds")]
)
def test_a_serving_directory_that_overlaps_with_the_registry_is_refused(place, tmp_path, name, how):
    registry = Registry(f"{place}/a/registry")
    promote_graph(registry, tmp_path, "first")
    before = registry.store.list()
    with pytest.raises(UserError, match=f"{how} the registry {registry.uri}: give a serving_directory beside it"):
        deploy_to_serving_directory(registry.uri, f"{place}/{name}")
    assert registry.store.list() == before
    deploy_to_serving_directory(registry.uri, f"{place}/a/registry2")


def test_a_registry_under_another_name_is_known_as_the_same(tmp_path):
    registry = Registry(str(tmp_path / "registry"))
    promote_graph(registry, tmp_path, "first")
    (tmp_path / "link").symlink_to(tmp_path / "registry")
    with pytest.raises(UserError, match="lies inside the registry"):
        deploy_to_serving_directory(str(tmp_path / "link"), str(tmp_path / "registry" / "serving"))


def test_the_registrys_id_is_made_once_and_stays(place, tmp_path):
    registry = Registry(place)
    assert registry.id(create=False) == ""
    promote_graph(registry, tmp_path, "first")
    made = registry.id(create=False)
    assert len(made) == 16 and int(made, 16)
    assert Registry(place).id() == made
    registry.store.delete("registry.json")  # a registry from before ids
    assert registry.id() == Registry(place).id() != made


def test_settings_take_over_is_off_by_default():
    assert not QUICK.take_over and replace(QUICK, take_over=True).take_over


def test_a_damaged_marker_is_named(tmp_path):
    registry, folder = Registry(str(tmp_path / "registry")), tmp_path / "serving"
    promote_graph(registry, tmp_path, "first")
    folder.mkdir()
    Path(folder, ".kfp-bert-owner.json").write_text("{")
    with pytest.raises(UserError, match=r"\.kfp-bert-owner\.json is damaged: .*run again with take_over=True"):
        deploy_to_serving_directory(registry.uri, str(folder))
