"""A place belongs to one owner: others are refused, and what is not ours is not touched."""

import shutil
from dataclasses import replace

import pytest
from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.deployment import RolloutError, deploy_to_serving_directory, open_versioned_folder
from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import open_store
from tests.support.directories import promote_graph
from tests.support.places import MODEL, downgrade, world
from tests.support.rollouts import ENDPOINT, QUICK, World, deploy_to
from tests.support.stores import gcs, place, s3

__all__ = ["gcs", "place", "s3", "world"]


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


def test_a_copy_of_a_registry_is_told_whose_folder_it_takes(tmp_path, capsys):
    registry = Registry(str(tmp_path / "registry"))
    promote_graph(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, str(tmp_path / "serving"))
    shutil.copytree(tmp_path / "registry", tmp_path / "copy")
    copy = Registry(str(tmp_path / "copy"))
    promote_graph(copy, tmp_path, "second")
    assert "warning" not in capsys.readouterr().out
    deploy_to_serving_directory(copy.uri, str(tmp_path / "serving"))
    assert f"warning: the registry was at {registry.uri} when it last wrote to" in capsys.readouterr().out


def test_a_copy_of_a_registry_is_told_whose_endpoint_it_takes(world, capsys):
    world.deploy()
    copy = open_store("gs://bucket/copy")
    for entry in world.registry.store.list():
        copy.write(entry.name, world.registry.store.read(entry.name).data)
    other = World("gs://bucket/copy", world.server)
    other.promote("another")
    assert "warning" not in capsys.readouterr().out
    other.deploy()
    assert capsys.readouterr().out.count("from another address than gs://bucket/copy. A copy of a registry counts") == 1


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


@pytest.mark.parametrize("name", ["00000042/saved_model.pb", "42/saved_model.pbtxt", "42/model.onnx", "42/a/b"])
def test_versions_of_others_are_seen_however_they_are_written(place, tmp_path, name):
    registry, folder = Registry(f"{place}/registry"), f"{place}/serving"
    promote_graph(registry, tmp_path, "first")
    open_store(folder).write(name, b"another team's")
    with pytest.raises(RolloutError, match=r"holds versions \(42\), and nothing says whose it is"):
        deploy_to_serving_directory(registry.uri, folder)


def test_a_version_of_others_that_servers_take_for_newer_is_noticed(place, tmp_path):
    registry, folder = Registry(f"{place}/registry"), f"{place}/serving"
    promote_graph(registry, tmp_path, "first")
    assert deploy_to_serving_directory(registry.uri, folder).serving_uri == f"{folder}/1"
    open_store(folder).write("00000099/saved_model.pb", b"another team's")
    assert deploy_to_serving_directory(registry.uri, folder).serving_uri == f"{folder}/100"


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


def test_take_over_replaces_others_also_where_our_version_is_live_beside_them(world):
    first = world.deploy(endpoint="hand")["facts"]["deployed"]
    endpoint = world.server.cloud.endpoints["projects/p/locations/region-1/endpoints/hand"]
    endpoint.deployed_models.append(v1.DeployedModel(id="77", model=MODEL, model_version_id="1", display_name="theirs"))
    world.server.cloud.split_traffic(endpoint, {first: 70, "77": 30})
    before = len(world.server.cloud.splits[endpoint.name])
    assert world.deploy(endpoint="hand", take_over=True)["facts"]["deployed"] == first
    assert dict(endpoint.traffic_split) == {first: 100}
    assert [one.id for one in endpoint.deployed_models] == [first]
    assert all(split[first] >= 70 for split in world.server.cloud.splits[endpoint.name][before:])
    world.server.calls.clear()
    world.deploy(endpoint="hand", take_over=True)
    assert world.server.changing_calls() == []


def test_take_over_marks_as_ours_what_already_serves_our_version(world, place, tmp_path):
    first = world.deploy()["facts"]["deployed"]
    world.endpoint.labels["kfp-bert-registry"] = "theirs"
    assert world.deploy(take_over=True)["facts"]["deployed"] == first
    assert world.endpoint.labels["kfp-bert-registry"] == world.registry.id()
    ours, folder = Registry(f"{place}/ours"), f"{place}/serving"
    promote_graph(ours, tmp_path / "ours", "first")
    deploy_to_serving_directory(ours.uri, folder)
    owner, generation = open_versioned_folder(folder).read_owner()
    open_versioned_folder(folder).write_owner(replace(owner, registry="theirs"), generation)
    assert deploy_to_serving_directory(ours.uri, folder, take_over=True).serving_uri == f"{folder}/2"
    assert open_versioned_folder(folder).read_owner()[0].registry == ours.id()
    assert deploy_to_serving_directory(ours.uri, folder, take_over=True).serving_uri == f"{folder}/2"


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


@pytest.mark.parametrize(
    "endpoint",
    [
        ENDPOINT.replace("/p/", "/q/"),
        ENDPOINT.replace("region-1", "region-2"),
        "a/b",
        "Mood",
        " mood",
        "label:a=B",
        "label:a=b/c",
    ],
)
def test_a_full_name_of_an_endpoint_elsewhere_is_refused(endpoint):
    with pytest.raises(
        UserError, match=rf"endpoint is '{endpoint}'.*(project and location are|expected an id|expected in its label)"
    ):
        replace(QUICK, endpoint=endpoint)
    for same in (ENDPOINT, ENDPOINT.replace("/p/", "/123/"), "label:a=b-c", "mood"):
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
    ("name", "value", "says"),
    [
        ("team", "A", "no capital letters"),
        ("team", "a b", "up to 63"),
        ("1", "a", "a letter first"),
        ("", "", "up to 63"),
    ],
)
def test_a_label_that_ai_platform_refuses_is_refused_up_front(name, value, says):
    with pytest.raises(UserError, match=f"labels has '{name}' with the value '{value}': expected .*{says}"):
        replace(QUICK, labels={name: value})
    replace(QUICK, labels={"team": "a_1-é", "cost": ""})
