"""A rollout that failed: what served before is left alone, and the record says what serves now."""

import shutil

import pytest
from click.testing import CliRunner

from kfp_bert_components.cli.registry import command
from kfp_bert_components.deployment import (
    DirectoryTarget,
    RolloutError,
    SmokeSettings,
    deploy_to_serving_directory,
    open_versioned_folder,
)
from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import open_store
from tests.support.directories import promote_graph
from tests.support.kserve_rollouts import KServeWorld
from tests.support.kubernetes_server import KubernetesServer
from tests.support.stores import gcs, place, s3

__all__ = ["gcs", "place", "s3"]
NOBODY = {"server_url": "http://127.0.0.1:9", "smoke": SmokeSettings(timeout_seconds=0.3)}


@pytest.fixture
def ours(place, tmp_path):
    """A registry whose first version is live in the folder "serving"."""
    registry = Registry(f"{place}/ours")
    promote_graph(registry, tmp_path / "ours", "first")
    deploy_to_serving_directory(registry.uri, f"{place}/serving")
    return registry


@pytest.fixture
def folder(place):
    return f"{place}/serving"


@pytest.fixture
def theirs(place, tmp_path):
    registry = Registry(f"{place}/theirs")
    promote_graph(registry, tmp_path / "theirs", "other")
    return registry


def fail_before_it_is_visible(registry, folder, **options):
    with pytest.raises(RolloutError, match="holds no texts to test it with"):
        deploy_to_serving_directory(registry.uri, folder, **NOBODY, **options)


@pytest.fixture
def fail_when_visible(monkeypatch):
    """Fails a rollout in its test, after `meanwhile` was done."""
    real = DirectoryTarget.test

    def fail(registry, folder, meanwhile=lambda: None, error="too slow", **options):
        def test(target, journal):
            monkeypatch.setattr(DirectoryTarget, "test", real)
            meanwhile()
            if error:
                raise RolloutError(error)

        monkeypatch.setattr(DirectoryTarget, "test", test)
        with pytest.raises(RolloutError, match=error or "somebody else changed the place|another owner took"):
            deploy_to_serving_directory(registry.uri, folder, **options)

    return fail


@pytest.mark.parametrize("visible", [False, True])
def test_with_a_record_from_a_backup_the_versions_that_serve_stay(ours, folder, tmp_path, visible, fail_when_visible):
    backup = ours.store.read("deployments/production.json").data
    for name in ("second", "third"):
        promote_graph(ours, tmp_path / "ours", name)
        deploy_to_serving_directory(ours.uri, folder)
    ours.store.write("deployments/production.json", backup)
    promote_graph(ours, tmp_path / "ours", "fourth")
    (fail_when_visible if visible else fail_before_it_is_visible)(ours, folder)
    seen = open_versioned_folder(folder)
    assert (seen.complete(), seen.registry_version(3)) == ([2, 3], 3)
    record = ours.deployment("production")
    assert (record.state, record.version, record.live_version, record.live_served) == ("failed", 4, 3, "3")


@pytest.mark.parametrize("visible", [False, True])
def test_a_take_over_that_fails_leaves_what_the_other_owner_serves(
    ours, theirs, folder, tmp_path, visible, fail_when_visible
):
    deploy_to_serving_directory(theirs.uri, folder, take_over=True)
    promote_graph(ours, tmp_path / "ours", "second")
    (fail_when_visible if visible else fail_before_it_is_visible)(ours, folder, take_over=True)
    assert open_versioned_folder(folder).complete() == [1, 2]
    record = ours.deployment("production")
    assert (record.state, record.live_version, record.live_served) == ("failed", None, "")
    assert "version 1 does not serve there any more: " in ours.history()[-1].text


@pytest.mark.parametrize(("error", "keep"), [("too slow", 3), ("", 3), ("", 2)])
def test_a_rollout_whose_folder_was_taken_over_meanwhile_changes_nothing_there(
    ours, theirs, folder, tmp_path, error, keep, fail_when_visible
):
    promote_graph(ours, tmp_path / "ours", "second")

    def take_over():
        deploy_to_serving_directory(theirs.uri, folder, take_over=True, keep=keep)
        promote_graph(theirs, tmp_path / "theirs", "another")
        deploy_to_serving_directory(theirs.uri, folder, keep=keep)
        left.extend(open_versioned_folder(folder).complete())

    left = []
    fail_when_visible(ours, folder, take_over, error)
    assert left == [2, 3, 4][-keep:]  # with 2, the version of the rollout under way is gone
    assert open_versioned_folder(folder).complete() == left
    record, other = ours.deployment("production"), theirs.deployment("production")
    assert (record.state, record.live_version) == ("failed", None)
    assert (other.state, other.live_served) == ("live", "4")


def test_of_versions_that_others_deployed_the_newest_is_kept_by_who_takes_over(ours, theirs, folder):
    deploy_to_serving_directory(theirs.uri, folder, take_over=True)
    deploy_to_serving_directory(ours.uri, folder, take_over=True)
    assert open_versioned_folder(folder).complete() == [2, 3]


def test_what_a_failed_rollout_put_there_too_late_is_taken_away_by_the_next_one_also_if_that_fails(
    ours, folder, tmp_path, fail_when_visible
):
    promote_graph(ours, tmp_path / "ours", "second")
    fail_when_visible(ours, folder)
    late = [entry for entry in open_store(folder).list() if entry.name.startswith("1/")]
    for entry in late:
        data = open_store(folder).read(entry.name).data
        open_store(folder).write(entry.name.replace("1/", "2/", 1), data)
    assert open_versioned_folder(folder).complete() == [1, 2]
    fail_before_it_is_visible(ours, folder)
    assert open_versioned_folder(folder).complete() == [1]
    assert ours.deployment("production").live_version == 1


@pytest.mark.parametrize("fails", [False, True])
def test_what_somebody_put_under_a_number_that_failed_stays(ours, folder, tmp_path, capsys, fails, fail_when_visible):
    promote_graph(ours, tmp_path / "ours", "second")
    fail_when_visible(ours, folder)
    by_hand = {"2/saved_model.pb": b"a hotfix", "2/variables/variables.index": b"mine", "2/notes.txt": b"why"}
    for name, data in by_hand.items():
        open_store(folder).write(name, data)
    if fails:
        fail_before_it_is_visible(ours, folder)
    else:
        deploy_to_serving_directory(ours.uri, folder)
    assert {name: open_store(folder).read(name).data for name in by_hand} == by_hand
    assert f"{folder}/2 holds what is not this registry's: it is left there." in capsys.readouterr().out


@pytest.mark.parametrize("fails", [False, True])
def test_a_version_of_another_registry_under_a_number_that_failed_stays(
    ours, folder, tmp_path, capsys, fails, fail_when_visible
):
    theirs, store = Registry(f"{folder}-theirs"), open_store(folder)
    promote_graph(theirs, tmp_path / "theirs", "theirs")
    deploy_to_serving_directory(theirs.uri, f"{folder}-other")
    promote_graph(ours, tmp_path / "ours", "second")
    fail_when_visible(ours, folder)
    copied = open_store(f"{folder}-other")
    for entry in copied.list("1/"):
        store.write(entry.name.replace("1/", "2/", 1), copied.read(entry.name).data)
    there = [entry.name for entry in store.list("2/")]
    if fails:
        fail_before_it_is_visible(ours, folder)
    else:
        deploy_to_serving_directory(ours.uri, folder)
    assert [entry.name for entry in store.list("2/")] == there != []
    assert f"{folder}/2 holds what is not this registry's: it is left there." in capsys.readouterr().out


def test_of_an_upload_that_was_stopped_only_its_own_files_are_removed(gcs, tmp_path, fail_when_visible):
    registry, folder = Registry("gs://bucket/ours"), "gs://bucket/serving"
    promote_graph(registry, tmp_path / "ours", "first")
    fail_when_visible(registry, folder)
    graph = registry.store.read("versions/1/bundle/saved_model/saved_model.pb").data
    gcs.put("bucket", "serving/1/saved_model.pb", graph)
    gcs.put("bucket", "serving/1/notes.txt", b"mine")
    assert deploy_to_serving_directory(registry.uri, folder).serving_uri == f"{folder}/2"
    assert [entry.name for entry in open_store(folder).list("1/")] == ["1/notes.txt"]


# What the record says after a failure


@pytest.mark.parametrize("promoted", [False, True])
def test_where_the_folder_was_deleted_nothing_is_said_to_serve(tmp_path, promoted):
    registry, folder = Registry(str(tmp_path / "ours")), str(tmp_path / "serving")
    promote_graph(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, folder)
    shutil.rmtree(folder)
    if promoted:
        promote_graph(registry, tmp_path, "second")
    for _ in range(2):
        fail_before_it_is_visible(registry, folder)
        record = registry.deployment("production")
        assert (record.state, record.live_version, record.live_served) == ("failed", None, "")
        said = registry.history()[-1].text
        assert "failed, and version 1 does not serve there any more: " in said
    assert "live on" not in run("list", registry.uri)


def test_where_the_place_cannot_be_asked_that_is_what_is_said(ours, folder, tmp_path, monkeypatch):
    promote_graph(ours, tmp_path / "ours", "second")
    open_store(folder).write("1/assets.extra/bundle.json", b"{")  # so that nobody knows what it is
    fail_before_it_is_visible(ours, folder)
    record = ours.deployment("production")
    assert (record.state, record.live_version, record.live_is_known) == ("failed", 1, False)
    assert "failed, and whether version 1 still serves is not known: " in ours.history()[-1].text
    assert "not known whether live on production as 1" in run("list", ours.uri)
    deploy_to_serving_directory(ours.uri, folder)
    assert ours.deployment("production").live_is_known
    assert "not known" not in run("list", ours.uri)


def run(*arguments):
    done = CliRunner().invoke(command, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


def test_after_a_failure_with_other_settings_the_version_before_is_said_to_serve(gcs):
    server = KubernetesServer(factor=200)
    world = KServeWorld("gs://bucket/registry", server)
    with server:
        world.promote()
        world.deploy()
        world.wrong = {1}
        with pytest.raises(RolloutError):
            world.deploy(max_replicas=3)
        assert world.versions_serving() == {1: 100}
    record = world.registry.deployment("production")
    assert (record.state, record.live_version, record.live_is_known) == ("failed", 1, True)


def test_a_rollout_that_cannot_be_finished_leaves_a_record_that_says_what_serves(ours, folder, tmp_path, monkeypatch):
    promote_graph(ours, tmp_path / "ours", "second")

    def finish(target, journal):
        raise UserError("the disk is full")

    monkeypatch.setattr(DirectoryTarget, "finish", finish)
    with pytest.raises(UserError, match="the disk is full"):
        deploy_to_serving_directory(ours.uri, folder)
    record = ours.deployment("production")
    assert (record.state, record.live_version, record.live_served) == ("rolling", 2, "2")
