"""The versions to serve are found in folders and registries, here and in a bucket, and seen again when they change."""

import json
import shutil
import tempfile

import pytest

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.serving.manager import ModelManager
from kfp_bert_components.serving.sources import open_source
from kfp_bert_components.storage import open_store, upload_folder
from tests.support.stores import cloud, gcs, s3
from tests.support.tiny_model import write_keyword_model

__all__ = ["cloud", "gcs", "s3"]


def write_saved_model(folder, graph=b"graph", **metadata):
    """The files of a SavedModel; nothing here loads them."""
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "assets.extra" / "bundle.json").write_text(json.dumps(metadata))
    (folder / "saved_model.pb").write_bytes(graph)
    return folder


def write_registry(folder, version):
    for number in (1, 2):
        bundle = folder / "versions" / str(number) / "bundle"
        if not bundle.exists():
            write_saved_model(bundle / "saved_model", b"%d" % number)
            (bundle / "bundle.json").write_text(json.dumps({"fingerprint": f"print {number}"}))
    event = {
        "event": "promoted",
        "version": version,
        "previous": None,
        "decision_id": "d",
        "at": "",
        "by": "",
        "reason": "",
    }
    champion = {"format": 1, "version": version, "decision_id": "d", "log": [event]}
    (folder / "champion.json").write_text(json.dumps(champion))
    return folder


def known(version):
    return version.number, version.registry_version, version.fingerprint


def test_of_a_registry_the_champion_is_served_also_when_it_goes_back(tmp_path):
    versions = open_source(write_registry(tmp_path, 2))
    assert known(versions()[0].read()) == (2, 2, "print 2")
    write_registry(tmp_path, 1)
    assert [known(one.read()) for one in versions()] == [(1, 1, "print 1")]


def test_a_registry_without_a_champion_is_waited_for(tmp_path):
    (tmp_path / "registry.json").write_text('{"format": 1, "id": "r"}')
    assert open_source(tmp_path)() == []


def test_a_registry_in_a_bucket_is_read_again_when_the_champion_moves(cloud, tmp_path):
    store = open_store(f"{cloud.root}/registry")
    for number in (1, 2):
        upload_folder(write_registry(tmp_path / str(number), number), open_store(f"{cloud.root}"), "registry")
    versions = open_source(f"{cloud.root}/registry")
    assert known(versions()[0].read()) == (2, 2, "print 2")
    store.write("champion.json", (tmp_path / "1" / "champion.json").read_bytes())
    version = versions()[0].read()
    assert known(version) == (1, 1, "print 1")
    assert (version.folder / "saved_model.pb").read_bytes() == b"1"


def test_a_model_in_a_bucket_is_downloaded_once_and_again_when_it_changes(cloud, tmp_path):
    upload_folder(write_saved_model(tmp_path / "a", b"a"), open_store(f"{cloud.root}"), "model")
    versions = open_source(f"{cloud.root}/model/")
    first = versions()[0].read()
    assert versions()[0].read() == first
    open_store(f"{cloud.root}/model").write("saved_model.pb", b"b")
    second = versions()[0].read()
    assert (second.folder / "saved_model.pb").read_bytes() == b"b"
    assert second != first


def test_of_a_folder_of_versions_in_a_bucket_the_newest_complete_one_is_first(cloud, tmp_path):
    for number in ("1", "10", "9"):
        upload_folder(write_saved_model(tmp_path / number), open_store(f"{cloud.root}/serving"), number)
    store = open_store(f"{cloud.root}/serving")
    store.write("11/variables/variables.index", b"")  # not complete
    store.write("notes.txt", b"")
    assert [one.number for one in open_source(f"{cloud.root}/serving")()] == [10, 9, 1]


def test_a_folder_in_a_bucket_without_files_is_no_model(cloud):
    with pytest.raises(NotFoundError, match="holds no files"):
        ModelManager(f"{cloud.root}/none")


def test_an_unreadable_version_is_told_and_the_others_are_seen(tmp_path):
    for number in ("1", "2"):
        write_saved_model(tmp_path / number)
    shutil.rmtree(tmp_path / "2" / "assets.extra")
    (tmp_path / "2" / "assets.extra").symlink_to(tmp_path / "2" / "assets.extra")  # ELOOP
    found = open_source(tmp_path)()
    assert [one.number for one in found] == [2, 1]
    with pytest.raises(UserError, match="assets.extra is a link to nothing"):
        found[0].read()
    assert found[1].read().number == 1


def without_record(folder):
    shutil.rmtree(folder / "assets.extra")
    return folder


@pytest.mark.parametrize("place", ["here", "bucket"])
@pytest.mark.parametrize("says", ["owner", "sibling", "nothing"])
def test_beside_versions_of_a_deployment_one_without_its_record_is_not_whole(cloud, tmp_path, place, says):
    folder = tmp_path / "serving"
    without_record(write_saved_model(folder / "2"))
    if says == "owner":
        (folder / ".kfp-bert-owner.json").write_text("{}")
    if says == "sibling":
        write_saved_model(folder / "1")
    if place == "bucket":
        upload_folder(folder, open_store(f"{cloud.root}"), "serving")
    (version, *_) = open_source(f"{cloud.root}/serving" if place == "bucket" else folder)()
    if says == "nothing":  # any SavedModel is served
        assert version.read().metadata == {}
    else:
        with pytest.raises(UserError, match=r"Version 2 has no assets\.extra/bundle\.json that can be read"):
            version.read()


def test_a_version_that_is_copied_file_by_file_goes_live_when_it_is_whole(tmp_path):
    write_keyword_model(tmp_path / "1", {"calm": "sea", "alarm": "fire"})
    write_record(tmp_path / "1", ["calm", "alarm"])
    models = ModelManager(tmp_path, report=lambda line: None)
    models.refresh()
    write_keyword_model(tmp_path / "2", {"calm": "sea", "alarm": "fire"})
    models.refresh()
    assert models.model.version.number == 1 and "Version 2 has no assets.extra/bundle.json" in models.problem
    write_record(tmp_path / "2", ["calm", "alarm"])
    models.refresh()
    assert models.model.version.number == 2 and models.model.labels == ("calm", "alarm") and not models.problem


@pytest.mark.parametrize("record", ["", '{"labels": ['])
def test_a_bundle_whose_record_is_cut_is_named_and_not_taken_for_a_saved_model(tmp_path, record):
    for name in ("model.onnx", "saved_model.pb"):
        (tmp_path / name).write_bytes(b"graph")
    if record:
        (tmp_path / "bundle.json").write_text(record)
    models = ModelManager(tmp_path, report=lambda line: None)
    models.refresh()
    assert f"{tmp_path} holds model.onnx and no bundle.json that can be read" in models.problem


def test_without_a_temporary_folder_a_model_in_a_bucket_is_refused_in_one_sentence(cloud, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/none")
    with pytest.raises(UserError, match=f"{cloud.root}/model is copied to a temporary folder, .* set TMPDIR to a"):
        open_source(f"{cloud.root}/model")


def write_record(folder, labels):
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "bundle.json").write_text(json.dumps({"labels": labels}))


@pytest.mark.parametrize("place", ["here", "bucket"])
def test_zeros_before_the_number_of_a_version_do_no_harm(cloud, tmp_path, place):
    write_saved_model(tmp_path / "serving" / "002")
    write_saved_model(tmp_path / "serving" / "01")
    if place == "bucket":
        upload_folder(tmp_path / "serving", open_store(f"{cloud.root}"), "serving")
    found = open_source(f"{cloud.root}/serving" if place == "bucket" else tmp_path / "serving")()
    assert [(one.number, one.read().number) for one in found] == [(2, 2), (1, 1)]


@pytest.mark.parametrize("below", ["versions", "versions/1"])
def test_the_versions_of_a_registry_are_no_versions_to_serve(tmp_path, below):
    write_registry(tmp_path / "registry", 1)
    (tmp_path / "registry" / "versions" / "1" / "version.json").write_text("{}")
    with pytest.raises(
        UserError, match=r"registry/versions/1 is a version of a registry: give the registry, \S+, whose"
    ):
        open_source(tmp_path / "registry" / below)()


@pytest.mark.parametrize("below", ["versions", "versions/1"])
def test_nor_are_they_in_a_bucket(cloud, tmp_path, below):
    write_registry(tmp_path / "registry", 1)
    (tmp_path / "registry" / "versions" / "1" / "version.json").write_text("{}")
    upload_folder(tmp_path / "registry", open_store(f"{cloud.root}"), "registry")
    root = f"{cloud.root}/registry"
    with pytest.raises(UserError, match=f"{root}/versions/1 is a version of a registry: give the registry, {root}, "):
        open_source(f"{cloud.root}/registry/{below}")()


def test_what_a_console_makes_for_a_folder_does_no_harm(cloud, tmp_path):
    for name in ("serving/", "serving/.kfp-bert-owner.json", "model/", "model/variables/"):
        cloud.put("bucket", name, b"")
    assert open_source(f"{cloud.root}/serving")() == []  # a version may come
    upload_folder(write_saved_model(tmp_path / "model"), open_store(f"{cloud.root}"), "model")
    assert (open_source(f"{cloud.root}/model")()[0].read().folder / "saved_model.pb").read_bytes() == b"graph"


def test_a_folder_in_a_bucket_that_holds_something_else_is_no_model(cloud):
    open_store(f"{cloud.root}/data").write("lines.csv", b"text")
    with pytest.raises(UserError, match=f"{cloud.root}/data holds no model"):
        ModelManager(f"{cloud.root}/data")


def test_a_folder_without_a_complete_version_is_said(tmp_path):
    (tmp_path / "1").mkdir()
    lines = []
    models = ModelManager(tmp_path, report=lines.append)
    models.refresh()
    models.refresh()
    assert lines == [f"Still loading: {tmp_path} has no complete version yet."]
