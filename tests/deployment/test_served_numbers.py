"""In a serving directory a number is used once, and a version is tested before a server can see it."""

import os
import signal
import subprocess
import sys

import pytest

from kfp_bert_components.deployment import RolloutError, deploy_to_serving_directory, open_versioned_folder
from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry
from kfp_bert_components.serving.versions import newest_version
from kfp_bert_components.storage import open_store
from tests.support.ai_platform_cloud import shout
from tests.support.directories import promote_graph
from tests.support.examined import write_examined
from tests.support.stores import gcs, place, s3

__all__ = ["gcs", "place", "s3"]

KILLED_WHEN_VISIBLE = """
import os, sys
from kfp_bert_components.deployment import DirectoryTarget, deploy_to_serving_directory
DirectoryTarget.test = lambda self, journal: os.kill(os.getpid(), 9)
deploy_to_serving_directory(sys.argv[1], sys.argv[2], lease_seconds=0.5)
"""


def promote_examined(uri, scratch):
    """A registry whose champion has a real evaluation, but a graph that no engine can load."""
    registry = Registry(uri)
    paths = write_examined(scratch / "m", "m", saved_model=False)
    (paths[0] / "saved_model" / "saved_model.pb").write_text("graph")
    registry.promote(*paths)
    return registry


def deploy_and_die(registry, folder):
    command = [sys.executable, "-c", KILLED_WHEN_VISIBLE, registry.uri, folder]
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    assert done.returncode == -signal.SIGKILL


def test_after_a_kill_and_a_rollback_the_good_model_gets_a_number_that_no_server_has_seen(place, tmp_path):
    registry, folder = Registry(f"{place}/registry"), f"{place}/serving"
    promote_graph(registry, tmp_path, "good")
    deploy_to_serving_directory(registry.uri, folder)
    promote_graph(registry, tmp_path, "bad")
    deploy_and_die(registry, folder)
    assert open_versioned_folder(folder).complete() == [1, 2]  # a server has loaded 2 by now
    registry.rollback()
    deployed = deploy_to_serving_directory(registry.uri, folder, lease_seconds=0.5)
    assert (deployed.serving_uri, deployed.version) == (f"{folder}/3", 1)
    assert open_versioned_folder(folder).complete() == [1, 3]
    record = registry.deployment("production")
    assert (record.version, record.served, record.live_version, record.live_served) == (1, "3", 1, "3")


def test_a_number_that_was_reverted_is_not_used_again(place, tmp_path):
    registry, folder = promote_examined(f"{place}/registry", tmp_path), f"{place}/serving"
    for number in (1, 2):
        with pytest.raises(RolloutError, match=f"does not serve version {number} after"):
            deploy_unanswered(registry, folder)
        assert open_versioned_folder(folder).complete() == []
        assert registry.deployment("production").served == str(number)
    assert deploy_to_serving_directory(registry.uri, folder).serving_uri == f"{folder}/3"


def test_a_number_after_which_there_is_none_is_refused(place, tmp_path):
    registry, folder = promote_examined(f"{place}/registry", tmp_path), f"{place}/serving"
    open_store(folder).write(f"{2**63 - 1}/notes.txt", b"")
    with pytest.raises(RolloutError, match="has a folder 9223372036854775807, after which there is no number"):
        deploy_to_serving_directory(registry.uri, folder, take_over=True)


@pytest.mark.parametrize(("name", "warned"), [("models [2024]", True), ("a\\b", True), ("models 2024", False)])
def test_a_folder_that_tensorflow_serving_takes_as_a_pattern_is_said(tmp_path, capsys, name, warned):
    registry = promote_examined(str(tmp_path / "registry"), tmp_path)
    deploy_to_serving_directory(registry.uri, str(tmp_path / name))
    assert ("TensorFlow Serving takes" in capsys.readouterr().out) == warned


def deploy_unanswered(registry, folder):
    from kfp_bert_components.deployment import SmokeSettings

    smoke = SmokeSettings(timeout_seconds=0.3)
    deploy_to_serving_directory(registry.uri, folder, server_url="http://127.0.0.1:9", smoke=smoke)


def test_the_number_is_remembered_by_the_folder_if_the_record_is_lost(place, tmp_path):
    registry, folder = promote_examined(f"{place}/registry", tmp_path), f"{place}/serving"
    with pytest.raises(RolloutError, match="does not serve version 1"):
        deploy_unanswered(registry, folder)
    registry.store.delete("deployments/production.json")
    assert deploy_to_serving_directory(registry.uri, folder).serving_uri == f"{folder}/2"


def test_a_marker_object_counts_as_a_number(gcs, tmp_path):
    registry, folder = Registry("gs://bucket/registry"), "gs://bucket/serving"
    gcs.put("bucket", "serving/9/", b"")  # as consoles make it
    promote_graph(registry, tmp_path, "first")
    assert deploy_to_serving_directory(registry.uri, folder).serving_uri == f"{folder}/10"


def test_what_several_killed_runs_left_is_removed_and_the_version_before_stays(place, tmp_path):
    registry, folder = Registry(f"{place}/registry"), f"{place}/serving"
    promote_graph(registry, tmp_path, "good")
    deploy_to_serving_directory(registry.uri, folder)
    promote_graph(registry, tmp_path, "next")
    for _ in range(2):
        deploy_and_die(registry, folder)
    deployed = deploy_to_serving_directory(registry.uri, folder, lease_seconds=0.5)
    number = int(deployed.serving_uri.rsplit("/", 1)[-1])
    seen = open_versioned_folder(folder)
    assert seen.complete() == [1, number]
    assert (seen.registry_version(1), seen.registry_version(number)) == (1, 2)


# Tested before it is seen


@pytest.fixture
def examined(tmp_path):
    """A registry whose champion has a real evaluation, and the folder that it is deployed to."""
    return promote_examined(str(tmp_path / "registry"), tmp_path), tmp_path / "serving"


def test_the_version_is_asked_for_its_examined_texts_before_a_server_can_see_it(examined, capsys):
    registry, folder = examined
    asked = []

    def engine(saved_model):
        assert {path.name for path in saved_model.iterdir()} >= {"saved_model.pb", "assets.extra"}
        assert newest_version(folder) is None
        return lambda instances: asked.extend(instances) or shout("", instances)

    assert deploy_to_serving_directory(registry.uri, str(folder), engine=engine).version == 1
    assert sorted(one["text"] for one in asked) == sorted(["HELLO", "hello", "FADE IN", "She opens the door."])
    said = capsys.readouterr().out
    assert "asked here for 4 texts of its evaluation, and all answers are right" in said
    assert "canary" not in said and "shifting" not in said
    deploy_to_serving_directory(registry.uri, str(folder), engine=None)
    assert len(asked) == 4


def wrong(saved_model):
    def predict(instances):
        answers = shout("", instances)
        for one in answers:
            one["probabilities"].reverse()
        return answers

    return predict


def silent(saved_model):
    return lambda instances: []


def broken(saved_model):
    raise ValueError("this is no graph")


@pytest.mark.parametrize(
    ("engine", "says"),
    [(wrong, "differs by 0.8"), (silent, "gave 0 answers to 4 texts"), (broken, "cannot be loaded: this is")],
)
def test_a_version_that_does_not_pass_here_never_becomes_visible(examined, engine, says):
    registry, folder = examined
    with pytest.raises(RolloutError, match=f"Version 1 was not rolled out: .*{says}"):
        deploy_to_serving_directory(registry.uri, str(folder), engine=engine)
    assert [name for name in os.listdir(folder) if name != ".kfp-bert-owner.json"] == []
    assert registry.deployment("production").state == "failed"


def test_a_version_without_texts_to_ask_is_refused(tmp_path):
    registry, folder = Registry(str(tmp_path / "registry")), tmp_path / "serving"
    promote_graph(registry, tmp_path, "first")
    with pytest.raises(UserError, match="holds no texts to test it with"):
        deploy_to_serving_directory(registry.uri, str(folder), engine=silent)


def test_a_damaged_version_in_the_folder_is_left_there_and_blocks_nothing(place, tmp_path, capsys):
    registry, folder = Registry(f"{place}/registry"), f"{place}/serving"
    promote_graph(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, folder)
    open_store(folder).write("1/assets.extra/bundle.json", b"{")
    assert deploy_to_serving_directory(registry.uri, folder).serving_uri == f"{folder}/2"  # 1 is not live
    assert "1/assets.extra/bundle.json is damaged" in capsys.readouterr().out
    for name, number in (("second", 3), ("third", 4)):
        promote_graph(registry, tmp_path, name)
        assert deploy_to_serving_directory(registry.uri, folder).serving_uri == f"{folder}/{number}"
        assert registry.deployment("production").state == "live"
    assert open_versioned_folder(folder).complete() == [1, 3, 4]
