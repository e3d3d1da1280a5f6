"""Deployment to a folder that a model server watches, local and on gs://."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import kfp_bert_components
from kfp_bert_components.cli.deploy_command import deploy_command
from kfp_bert_components.deployment import RolloutError, deploy_to_serving_directory, open_versioned_folder
from kfp_bert_components.errors import NoChampionError, UserError
from kfp_bert_components.registry import Registry
from tests.support.directories import promote_graph as promote
from tests.support.evaluations import some_test_set
from tests.support.stores import every_place as place
from tests.support.stores import gcs, s3

__all__ = ["gcs", "place", "s3"]

MARKER = ".kfp-bert-owner.json"


def test_the_champion_becomes_the_newest_version_and_the_record_says_so(place, tmp_path):
    registry, folder = Registry(f"{place}/registry"), f"{place}/serving"
    promote(registry, tmp_path, "first")
    assert registry.deployment_pending("production")
    deployed = deploy_to_serving_directory(registry.uri, folder)
    assert (deployed.serving_uri, deployed.version) == (f"{folder}/1", 1)
    assert not registry.deployment_pending("production")
    assert open_versioned_folder(folder).registry_version(1) == 1
    promote(registry, tmp_path, "second")
    assert deploy_to_serving_directory(registry.uri, folder).serving_uri == f"{folder}/2"
    assert open_versioned_folder(folder).complete() == [1, 2]


def test_a_champion_that_is_live_is_left_alone(place, tmp_path):
    registry, folder = Registry(f"{place}/registry"), f"{place}/serving"
    promote(registry, tmp_path, "first")
    first = deploy_to_serving_directory(registry.uri, folder)
    before = registry.deployment("production").generation
    assert deploy_to_serving_directory(registry.uri, folder) == first
    assert registry.deployment("production").generation == before


def test_a_rollback_gets_a_new_number_because_servers_load_the_highest(place, tmp_path):
    registry, folder = Registry(f"{place}/registry"), f"{place}/serving"
    for name in ("first", "second"):
        promote(registry, tmp_path, name)
        deploy_to_serving_directory(registry.uri, folder)
    registry.rollback()
    deployed = deploy_to_serving_directory(registry.uri, folder)
    assert (deployed.serving_uri, deployed.version) == (f"{folder}/3", 1)
    assert open_versioned_folder(folder).complete() == [2, 3]


def test_a_version_that_vanished_is_put_there_again(tmp_path):
    registry, folder = Registry(str(tmp_path / "registry")), str(tmp_path / "serving")
    promote(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, folder)
    open_versioned_folder(folder).remove(1)
    assert deploy_to_serving_directory(registry.uri, folder).serving_uri == f"{folder}/2"


def test_a_failure_leaves_the_old_version_and_says_why(tmp_path):
    registry, folder = Registry(str(tmp_path / "registry")), str(tmp_path / "serving")
    promote(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, folder)
    version = promote(registry, tmp_path, "second")
    bundle = Path(registry.uri, "versions", str(version), "bundle", "saved_model", "part0")
    os.chmod(bundle, 0o644)
    bundle.write_text("damaged")
    with pytest.raises(RolloutError, match="SHA-256"):
        deploy_to_serving_directory(registry.uri, folder)
    assert open_versioned_folder(folder).complete() == [1]
    record = registry.deployment("production")
    assert (record.state, record.version, record.live_version) == ("failed", 2, 1)
    assert "SHA-256" in record.reason


def test_where_the_first_model_was_held_back_the_step_says_so_and_succeeds(tmp_path, capsys):
    registry, serving = tmp_path / "registry", str(tmp_path / "serving")
    Registry(str(registry)).count_use(some_test_set(["one", "two"]), 0.05, {})
    with pytest.raises(NoChampionError):
        deploy_to_serving_directory(str(registry), serving)
    step = kfp_bert_components.deploy_to_serving_directory.python_func
    assert step(registry=str(registry), serving_directory=serving) == ("", 0)
    assert f"There is nothing to deploy: the registry {registry} has no champion yet." in capsys.readouterr().out
    with pytest.raises(UserError, match="typo is no registry: there is no such folder"):
        step(registry=f"{tmp_path}/typo", serving_directory=serving)


def test_bad_input_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(UserError, match="is no registry"):
        deploy_to_serving_directory(str(tmp_path / "registry"), str(tmp_path / "serving"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        deploy_to_serving_directory(str(tmp_path), str(tmp_path / "file"))
    with pytest.raises(UserError, match="empty"):
        deploy_to_serving_directory(str(tmp_path), "")
    with pytest.raises(UserError, match="expected 2 or more"):
        deploy_to_serving_directory(str(tmp_path), str(tmp_path), keep=1)


DEPLOY = """
import os, sys
from pathlib import Path
from kfp_bert_components.deployment import deploy_to_serving_directory
count = 0
for module in ("os.replace", "shutil.copyfile"):
    place, name = module.split(".")
    place = __import__(place)
    def wrap(real):
        def call(*args, **options):
            global count
            count += 1
            if count == int(sys.argv[3]):
                os.kill(os.getpid(), 9)
            return real(*args, **options)
        return call
    setattr(place, name, wrap(getattr(place, name)))
deploy_to_serving_directory(sys.argv[1], sys.argv[2], lease_seconds=0.5)
"""


STUCK = """
import shutil, sys, time
from kfp_bert_components.deployment import deploy_to_serving_directory
shutil.copytree = lambda *paths, **options: (print("here", flush=True), time.sleep(60))
deploy_to_serving_directory(sys.argv[1], sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.parametrize("position", range(1, 40, 2))
def test_killed_at_any_file_the_next_run_ends_the_same(tmp_path, position):
    registry, folder = Registry(str(tmp_path / "registry")), tmp_path / "serving"
    promote(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, str(folder))
    promote(registry, tmp_path, "second")
    command = [sys.executable, "-c", DEPLOY, registry.uri, str(folder), str(position)]
    code = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    for seen in open_versioned_folder(str(folder)).complete():
        files = {path.name for path in (folder / str(seen)).rglob("*") if path.is_file()}
        assert files == {"saved_model.pb", "part0", "part1", "bundle.json"}
    deployed = deploy_to_serving_directory(registry.uri, str(folder), lease_seconds=0.5)
    assert code in (0, -signal.SIGKILL)
    number = int(Path(deployed.serving_uri).name)
    assert number in (2, 3)  # the next run has a number of its own, as the killed one could still act
    assert sorted(os.listdir(folder)) == [MARKER, "1", str(number)]
    assert open_versioned_folder(str(folder)).registry_version(number) == deployed.version == 2
    record = registry.deployment("production")
    assert (record.state, record.live_version, record.live_served) == ("live", 2, str(number))


def test_two_deployments_at_once_do_it_once(tmp_path):
    registry, folder = Registry(str(tmp_path / "registry")), tmp_path / "serving"
    promote(registry, tmp_path, "first")
    command = [sys.executable, "-c", DEPLOY, registry.uri, str(folder), "0"]
    runs = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [run.wait(timeout=60) for run in runs] == [0, 0]
    assert sorted(os.listdir(folder)) == [MARKER, "1"]


def test_a_cancelled_run_removes_its_version(tmp_path):
    registry, folder = Registry(str(tmp_path / "registry")), tmp_path / "serving"
    promote(registry, tmp_path, "first")
    command = [sys.executable, "-c", STUCK, registry.uri, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        while "here" not in run.stdout.readline():
            time.sleep(0.01)
        run.terminate()
        assert run.wait(timeout=30) == 143
    record = registry.deployment("production")
    assert (record.state, record.reason) == ("failed", "the run was cancelled")
    assert open_versioned_folder(str(folder)).numbers() == []


def test_a_version_that_somebody_else_put_there_is_never_deleted(tmp_path):
    registry, folder = Registry(str(tmp_path / "registry")), tmp_path / "serving"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "saved_model.pb").write_text("by hand")
    for name in ("first", "second", "third"):
        promote(registry, tmp_path, name)
        deploy_to_serving_directory(registry.uri, str(folder), take_over=name == "first")
    assert open_versioned_folder(str(folder)).complete() == [1, 3, 4]


def test_the_metadata_of_a_version_has_the_fields_of_its_bundle_and_its_number_in_the_registry(tmp_path):
    registry, folder = Registry(str(tmp_path / "registry")), tmp_path / "serving"
    promote(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, str(folder))
    bundle = json.loads(Path(registry.uri, "versions", "1", "bundle", "bundle.json").read_text())
    metadata = json.loads((folder / "1" / "assets.extra" / "bundle.json").read_text())
    engines = metadata.pop("engines")  # which a bundle of format 1 does not name
    assert list(engines) == ["tensorflow"] and metadata == {**bundle, "registry_version": 1}


def test_an_address_is_read_once_so_a_path_may_end_with_a_blank(tmp_path):
    registry, written = Registry(str(tmp_path / "registry")), f"file://{tmp_path}/models%20"
    promote(registry, tmp_path, "first")
    for _ in range(2):
        assert deploy_to_serving_directory(registry.uri, written).serving_uri == f"{tmp_path}/models /1"
    command = deploy_command(registry.uri, registry.deployment("production"))
    assert f"-p serving_directory={written} " in command
    with pytest.raises(UserError, match="lies inside a version of the serving directory .*/models : give one beside"):
        deploy_to_serving_directory(registry.uri, f"{written}/1/serving", "other")
    with pytest.raises(UserError, match="holds the registry"):
        deploy_to_serving_directory(registry.uri, str(tmp_path))


def test_a_registry_on_a_mounted_bucket_is_known_by_the_bucket():
    for serving in ("gs://bucket/registry/serving", "file:///gcs/bucket/registry/serving"):
        with pytest.raises(UserError, match="lies inside the registry //gcs/bucket/registry"):
            deploy_to_serving_directory("//gcs/bucket/registry", serving)


def test_names_of_others_in_the_folder_block_no_rollout_and_stay(tmp_path):
    registry, folder = Registry(str(tmp_path / "registry")), tmp_path / "serving"
    for name in (".incoming-new-model", ".incoming-vendor", ".outgoing-1-theirs00"):
        (folder / name).mkdir(parents=True)
        (folder / name / "model.bin").write_text("theirs")
    before = set(os.listdir(folder))
    for name in ("first", "second"):
        promote(registry, tmp_path, name)
        deploy_to_serving_directory(registry.uri, str(folder))
    assert {*os.listdir(folder)} == {*before, "1", "2", MARKER}
