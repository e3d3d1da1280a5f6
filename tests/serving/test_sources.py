"""The versions to serve are found in folders and registries, here and on gs://, and seen again when they change."""

import json
import shutil

import pytest

from kfp_bert_components.errors import NotFoundError
from kfp_bert_components.serving.manager import ModelManager
from kfp_bert_components.serving.sources import open_source
from kfp_bert_components.storage import open_store, upload_folder
from tests.support.stores import gcs

__all__ = ["gcs"]


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


def test_a_registry_on_gs_is_read_again_when_the_champion_moves(gcs, tmp_path):
    store = open_store("gs://bucket/registry")
    for number in (1, 2):
        upload_folder(write_registry(tmp_path / str(number), number), open_store("gs://bucket"), "registry")
    versions = open_source("gs://bucket/registry")
    assert known(versions()[0].read()) == (2, 2, "print 2")
    store.write("champion.json", (tmp_path / "1" / "champion.json").read_bytes())
    version = versions()[0].read()
    assert known(version) == (1, 1, "print 1")
    assert (version.folder / "saved_model.pb").read_bytes() == b"1"


def test_a_model_on_gs_is_downloaded_once_and_again_when_it_changes(gcs, tmp_path):
    upload_folder(write_saved_model(tmp_path / "a", b"a"), open_store("gs://bucket"), "model")
    versions = open_source("gs://bucket/model/")
    first = versions()[0].read()
    assert versions()[0].read() == first
    open_store("gs://bucket/model").write("saved_model.pb", b"b")
    second = versions()[0].read()
    assert (second.folder / "saved_model.pb").read_bytes() == b"b"
    assert second != first


def test_of_a_folder_of_versions_on_gs_the_newest_complete_one_is_first(gcs, tmp_path):
    for number in ("1", "10", "9"):
        upload_folder(write_saved_model(tmp_path / number), open_store("gs://bucket/serving"), number)
    store = open_store("gs://bucket/serving")
    store.write("11/variables/variables.index", b"")  # not complete
    store.write("notes.txt", b"")
    assert [one.number for one in open_source("gs://bucket/serving")()] == [10, 9, 1]


def test_a_folder_on_gs_without_files_is_no_model(gcs):
    with pytest.raises(NotFoundError, match="holds no files"):
        ModelManager("gs://bucket/none")


def test_an_unreadable_version_is_told_and_the_others_are_seen(tmp_path):
    for number in ("1", "2"):
        write_saved_model(tmp_path / number)
    shutil.rmtree(tmp_path / "2" / "assets.extra")
    (tmp_path / "2" / "assets.extra").symlink_to(tmp_path / "2" / "assets.extra")  # ELOOP
    found = open_source(tmp_path)()
    assert [one.number for one in found] == [2, 1]
    with pytest.raises(OSError):
        found[0].read()
    assert found[1].read().number == 1
