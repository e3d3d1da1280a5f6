"""A record is about one place, and whether the champion is live is looked at."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kfp_bert_components.cli.deploy_command import deploy_command
from kfp_bert_components.deployment import deploy_to_serving_directory, open_versioned_folder
from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import open_store
from tests.support.directories import promote_graph
from tests.support.places import world
from tests.support.rollouts import QUICK
from tests.support.stores import gcs, place, s3

__all__ = ["gcs", "place", "s3", "world"]


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


def test_a_version_beside_which_lies_a_file_of_another_engine_is_not_live(place, tmp_path, capsys):
    registry, folder = Registry(f"{place}/registry"), f"{place}/serving"
    promote_graph(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, folder)
    open_store(f"{folder}/1").write("model.onnx", b"another one")
    assert deploy_to_serving_directory(registry.uri, folder).serving_uri == f"{folder}/2"
    assert "serving/1 holds model.onnx, which version 1 does not have" in capsys.readouterr().out


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


def lose_versions(registry):
    """The versions and the pointer are lost, and the registry begins anew; the deployment records stay."""
    for entry in registry.store.list():
        if entry.name.startswith("versions/") or entry.name == "champion.json":
            registry.store.delete(entry.name)


def test_a_number_that_a_deployment_record_names_is_not_used_again(place, tmp_path):
    registry, folder = Registry(f"{place}/registry"), f"{place}/serving"
    promote_graph(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, folder)
    lose_versions(registry)
    assert promote_graph(registry, tmp_path, "second") == 2
    assert deploy_to_serving_directory(registry.uri, folder).serving_uri == f"{folder}/2"


def test_numbers_of_versions_that_were_lost_are_not_used_after_starting_over(place, tmp_path):
    registry = Registry(f"{place}/registry")
    promote_graph(registry, tmp_path, "first")
    for entry in registry.store.list("versions/"):
        registry.store.delete(entry.name)
    registry.start_over()
    assert promote_graph(registry, tmp_path, "second") == 2


def test_a_version_with_the_number_of_another_model_that_is_live_is_rolled_out(place, tmp_path, capsys):
    registry, folder = Registry(f"{place}/registry"), f"{place}/serving"
    promote_graph(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, folder)
    record = registry.store.read("deployments/production.json").data
    lose_versions(registry)
    registry.store.delete("deployments/production.json")
    promote_graph(registry, tmp_path, "other")  # files of the same sizes
    registry.store.write("deployments/production.json", record)
    assert registry.champion().version == registry.deployment("production").live_version == 1
    assert deploy_to_serving_directory(registry.uri, folder).serving_uri == f"{folder}/2"
    assert "serving/1 holds another model than version 1" in capsys.readouterr().out


def test_an_endpoint_that_serves_another_model_of_the_number_gets_the_registrys(world):
    world.deploy()
    store = world.registry.store
    record = store.read("deployments/production.json").data
    lose_versions(world.registry)
    store.delete("deployments/production.json")
    assert world.promote("another one") == 1
    store.write("deployments/production.json", record)
    world.server.calls.clear()
    world.deploy()
    assert "UploadModel" in world.changes()
    assert world.versions_serving() == {1: 100} and len(world.endpoint.deployed_models) == 1


@pytest.mark.parametrize("again", ["restored from a backup", "begun anew at the same address"])
def test_an_upload_of_another_model_under_the_same_number_is_not_served(world, again):
    store, settings = world.registry.store, {"take_over": True}
    world.deploy()
    backup = {entry.name: store.read(entry.name).data for entry in store.list()}
    if again == "restored from a backup":
        world.promote("two")
        world.deploy()
    for entry in store.list():
        store.delete(entry.name)
    if again == "restored from a backup":
        for name, data in backup.items():
            store.write(name, data)
    number = world.promote("another one")
    live = world.deploy(**settings)
    (model,) = [one for one in world.endpoint.deployed_models if world.endpoint.traffic_split[one.id]]
    uploads = [one for versions in world.server.cloud.models.values() for one in versions]
    (upload,) = [one for one in uploads if one.version_id == model.model_version_id]
    assert live["version"] == number
    assert world.registry.version(number).bundle_fingerprint.startswith(upload.labels["kfp-bert-fingerprint"])
    assert "champion" in upload.version_aliases
    world.server.calls.clear()
    world.deploy(**settings)
    assert world.server.changing_calls() == []


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


def test_on_s3_a_live_champion_costs_no_look_at_the_versions_before(s3, tmp_path):
    registry, folder = Registry("s3://bucket/registry"), "s3://bucket/serving"
    for name in ("first", "second"):
        promote_graph(registry, tmp_path, name)
        deploy_to_serving_directory(registry.uri, folder)
    assert open_versioned_folder(folder).complete() == [1, 2]
    before = len(s3.requests)
    deploy_to_serving_directory(registry.uri, folder)
    made = s3.requests[before:]
    looked_at = [path for method, path in made if method == "HEAD"]
    assert all("/serving/2/" in path for path in looked_at) and len(looked_at) == len(s3_files(s3, "serving/2/")), made
    assert len(made) - len(looked_at) <= 6, made
    assert {method for method, _ in made} == {"GET", "HEAD"}


def s3_files(s3, prefix):
    return [name for name in s3.names("bucket") if name.startswith(prefix)]


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


@pytest.mark.parametrize("name", ["1", "1/serving", "7/a/b"])
def test_a_serving_directory_inside_a_version_of_another_one_is_refused(place, tmp_path, name):
    first, second = Registry(f"{place}/first"), Registry(f"{place}/second")
    promote_graph(first, tmp_path, "first")
    promote_graph(second, tmp_path / "second", "second")
    deploy_to_serving_directory(first.uri, f"{place}/serving")
    with pytest.raises(UserError, match="lies inside a version of the serving directory .*/serving: give one beside"):
        deploy_to_serving_directory(second.uri, f"{place}/serving/{name}")
    deploy_to_serving_directory(second.uri, f"{place}/other/{name}")


def test_both_names_of_an_s3_store_are_one_place(s3, tmp_path):
    registry = Registry("s3://bucket/registry")
    promote_graph(registry, tmp_path, "first")
    with pytest.raises(UserError, match="lies inside the registry"):
        deploy_to_serving_directory(registry.uri, "minio://bucket/registry/serving")
    for uri in ("s3://bucket/serving", "minio://bucket/serving", "s3://bucket/serving"):
        deploy_to_serving_directory(registry.uri, uri)
    assert open_versioned_folder("s3://bucket/serving").complete() == [1]
    assert registry.deployment("production").place["uri"] == "s3://bucket/serving"


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
