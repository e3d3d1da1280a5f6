"""A folder of numbered versions, local and on gs://: what is there, what a server can load, what is put and removed."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kfp_bert_components.deployment import open_versioned_folder
from kfp_bert_components.deployment.versioned_folder import Owner, dump_metadata
from kfp_bert_components.errors import ConflictError, UserError
from kfp_bert_components.storage import open_store
from tests.support.stores import every_place as place
from tests.support.stores import gcs, s3

__all__ = ["gcs", "place", "s3"]


def saved_model(folder: Path, text: str = "graph", version: int = 3) -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "assets.extra").mkdir()
    (folder / "saved_model.pb").write_text(text)
    (folder / "variables/data").write_text("weights")
    metadata = dump_metadata({"format": 7, "labels": ["a"]}, version)
    (folder / "assets.extra/bundle.json").write_text(metadata)
    return folder


def names(place: str) -> set[str]:
    return {entry.name for entry in open_store(place).list()}


def test_a_version_is_put_there_whole_and_once_and_taken_away_whole(place: str, tmp_path: Path):
    folder = open_versioned_folder(f"{place}/not/there/yet")
    assert folder.uri == f"{place}/not/there/yet"
    assert folder.numbers() == folder.complete() == []
    folder.add(saved_model(tmp_path / "m"), 10)
    folder.add(saved_model(tmp_path / "n", version=4), 9)
    files = {"saved_model.pb", "variables/data", "assets.extra/bundle.json"}
    assert names(folder.uri) == {f"{number}/{file}" for number in (9, 10) for file in files}
    assert folder.numbers() == folder.complete() == [9, 10]
    assert (folder.registry_version(9), folder.registry_version(10), folder.registry_version(11)) == (4, 3, None)
    folder.add(saved_model(tmp_path / "o", "other", version=5), 9)
    assert open_store(folder.uri).read("9/saved_model.pb").data == b"graph" and folder.registry_version(9) == 4
    folder.remove(10)
    folder.remove(11)
    assert names(folder.uri) == {f"9/{file}" for file in files}


def test_only_a_number_with_its_graph_at_its_place_is_complete(place: str, tmp_path: Path):
    store = open_store(f"{place}/serving")
    for name in ("1/saved_model.pb", "2/variables/data", "3/deep/saved_model.pb", "models/saved_model.pb", "4x/a"):
        store.write(name, b"x")
    folder = open_versioned_folder(f"{place}/serving")
    assert folder.numbers() == [1, 2, 3] and folder.complete() == [1]


def test_a_version_that_is_put_there_by_hand_or_is_damaged_is_told_apart(place: str):
    store = open_store(f"{place}/serving")
    store.write("1/saved_model.pb", b"by hand")
    store.write("2/assets.extra/bundle.json", b'{"format": 1}')
    store.write("3/assets.extra/bundle.json", b"nonsense")
    folder = open_versioned_folder(f"{place}/serving")
    assert folder.registry_version(1) is folder.registry_version(2) is None
    with pytest.raises(UserError, match=rf"3/assets\.extra/bundle\.json.*delete version 3 from {folder.uri} by hand"):
        folder.registry_version(3)


def test_the_metadata_has_the_number_in_the_registry_and_a_format_of_its_own():
    found = json.loads(dump_metadata({"format": 7, "labels": ["a"]}, 3))
    assert found == {"format": 1, "labels": ["a"], "registry_version": 3}


def test_what_deployments_that_are_over_left_is_removed_and_nothing_else(tmp_path: Path):
    root = tmp_path / "serving"
    folder = open_versioned_folder(str(root))
    folder.remove_leftovers(4)
    folder.add(saved_model(tmp_path / "m"), 1)
    folder.write_owner(Owner("r", "production"), 0)
    for name in (".kfp-bert-incoming-4-abcdefg_", ".kfp-bert-outgoing-3-abcdefgh"):
        (root / name / "model").mkdir(parents=True)
    (root / ".kfp-bert-incoming-2-abcdefgh").touch()  # of a marker file that was not put in its place
    others = {".kfp-bert-incoming-5-abcdefgh", ".kfp-bert-outgoing-10-abcdefgh", ".other", "notes"}
    others |= {".incoming-new-model", ".incoming-vendor", ".incoming-4-abcdefgh", ".outgoing-x", ".kfp-bert-incoming-4"}
    for name in others:
        (root / name).mkdir()
    folder.remove_leftovers(4)
    assert {path.name for path in root.iterdir()} == {"1", ".kfp-bert-owner.json", *others}


@pytest.mark.parametrize("moment", ["copied", "removed", "marked"])
def test_what_a_run_leaves_that_is_killed_is_found_by_the_next(tmp_path: Path, monkeypatch, moment):
    folder = open_versioned_folder(str(tmp_path / "serving"))
    folder.add(saved_model(tmp_path / "m"), 1)

    def killed(*paths: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link" if moment == "marked" else "rename", killed)
    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        if moment == "copied":
            folder.add(saved_model(tmp_path / "n"), 2)
        elif moment == "removed":
            folder.remove(1)
        else:
            folder.write_owner(Owner("r", "production", number=2), 0)
    monkeypatch.undo()
    assert len(list((tmp_path / "serving").iterdir())) == 2
    folder.remove_leftovers(2)
    assert [path.name for path in (tmp_path / "serving").iterdir()] == ["1"]


@pytest.mark.parametrize(
    "address",
    [
        "/gcs/bucket/serving",
        "//gcs/bucket/serving",
        "/gcs/bucket/x/../serving/",
        "/gcs/../gcs/bucket/serving",
        "file:///gcs/bucket/serving",
        "file:///%67cs/bucket/serving",
        "file://localhost/gcs/bucket/serving",
    ],
)
def test_a_mounted_bucket_is_opened_as_gs_however_its_path_is_written(gcs, address: str):
    assert open_versioned_folder(address).uri == "gs://bucket/serving"


def test_a_link_to_a_mounted_bucket_is_opened_as_gs(gcs, tmp_path: Path):
    (tmp_path / "link").symlink_to("/gcs/bucket/models")
    assert open_versioned_folder(f"{tmp_path}/link/serving").uri == "gs://bucket/models/serving"


def test_a_path_of_a_mounted_bucket_without_its_name_is_refused(gcs):
    with pytest.raises(UserError, match="serving_directory 'gs://Bucket' names no bucket"):
        open_versioned_folder("/gcs/Bucket/x")


def test_a_file_url_is_opened_as_a_folder(tmp_path: Path):
    assert open_versioned_folder(f"file://{tmp_path}").uri == str(tmp_path)
    with pytest.raises(
        UserError, match="serving_directory is empty: give gs://bucket/folder, s3://bucket/folder or a local path"
    ):
        open_versioned_folder("")


def test_a_folder_has_one_name_however_its_path_is_written(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / "serving")
    for path in ("./missing/../serving", "serving/", "link", "link/../serving"):
        folder = open_versioned_folder(f"{tmp_path}/{path}")
        assert folder.uri == f"{tmp_path}/serving"
    folder.write_owner(Owner("r", "production"), 0)
    assert open_versioned_folder(f"{tmp_path}/link").read_owner()[0] == Owner("r", "production")


def test_a_path_below_a_file_or_with_a_zero_byte_is_refused_with_a_sentence(tmp_path: Path):
    (tmp_path / "file").touch()
    for name in ("a", "a/b"):
        with pytest.raises(UserError, match=f"lies below the file {tmp_path}/file: give a folder"):
            open_versioned_folder(f"{tmp_path}/file/{name}")
    with pytest.raises(UserError, match="holds a control character"):
        open_versioned_folder("file:///folder/%00x")


def test_a_folder_that_cannot_be_used_is_refused_with_a_sentence(tmp_path: Path):
    with pytest.raises(UserError, match=r"serving directory /tmp/x+ can't be used: File name too long"):
        open_versioned_folder(f"/tmp/{'x' * 300}")
    script = """
import os, pathlib, sys
from kfp_bert_components.deployment import open_versioned_folder
from kfp_bert_components.deployment.versioned_folder import Owner
from kfp_bert_components.errors import UserError
if os.getuid() == 0:
    os.setuid(65534)
place = pathlib.Path(sys.argv[1])
readable = open_versioned_folder(f"{place}/readable")
for call in (
    lambda: open_versioned_folder(f"{place}/private/serving"),
    lambda: readable.write_owner(Owner("r", "t"), 0),
    lambda: readable.add(place / "readable", 1),
):
    try:
        call()
    except UserError as error:
        print(error)
"""
    with tempfile.TemporaryDirectory() as scratch:  # which others may enter, other than tmp_path
        os.chmod(scratch, 0o755)
        os.mkdir(f"{scratch}/private", 0o700 if os.getuid() == 0 else 0)
        os.mkdir(f"{scratch}/readable", 0o555)
        done = subprocess.run([sys.executable, "-c", script, scratch], capture_output=True, text=True)
        os.chmod(f"{scratch}/private", 0o700)
    assert len(done.stdout.splitlines()) == 3, done.stderr
    for line, name in zip(done.stdout.splitlines(), ("private/serving", "readable", "readable"), strict=True):
        assert line.startswith(f"The serving directory {scratch}/{name} can't be used: Permission denied"), line
        assert line.endswith("Give a folder that this user can read and write.")


def test_only_a_marker_that_is_there_is_a_race(tmp_path: Path, monkeypatch):
    folder = open_versioned_folder(str(tmp_path / "serving"))
    folder.write_owner(Owner("r", "production"), 0)
    owner, generation = folder.read_owner()
    with pytest.raises(ConflictError, match="at the same moment"):
        folder.write_owner(owner, 0)
    (tmp_path / "serving" / ".kfp-bert-owner.json").unlink()
    with pytest.raises(ConflictError, match="at the same moment"):
        folder.write_owner(owner, generation)

    def gone(*paths: object) -> None:
        raise FileNotFoundError("the disk is gone")

    monkeypatch.setattr(os, "link", gone)
    with pytest.raises(UserError, match=r"can't be used: the disk is gone\. Give a folder") as refused:
        folder.write_owner(owner, 0)
    assert not isinstance(refused.value, ConflictError)


def test_a_pipe_in_the_place_of_a_marker_or_of_metadata_is_not_waited_for(tmp_path: Path):
    folder = open_versioned_folder(str(tmp_path))
    (tmp_path / "1" / "assets.extra").mkdir(parents=True)
    for name in (".kfp-bert-owner.json", "1/assets.extra/bundle.json"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=r"\.kfp-bert-owner\.json is damaged"):
        folder.read_owner()
    with pytest.raises(UserError, match=r"1/assets\.extra/bundle\.json"):
        folder.registry_version(1)


def test_a_marker_that_somebody_else_wrote_meanwhile_is_not_written_over(place: str):
    folder = open_versioned_folder(f"{place}/serving")
    _, before = folder.read_owner()
    theirs = Owner("them", "production", f"{place}/theirs", 1)
    folder.write_owner(theirs, before)
    with pytest.raises(ConflictError):
        folder.write_owner(Owner("us", "production", f"{place}/ours", 1), before)
    assert folder.read_owner()[0] == theirs


def test_a_graph_that_somebody_else_uploads_meanwhile_is_not_replaced(gcs, tmp_path: Path):
    folder, store, checks = open_versioned_folder("gs://bucket/serving"), open_store("gs://bucket/serving"), []

    def check():
        checks.append(1)
        if len(checks) == 2:  # the last one before the graph
            store.write("1/saved_model.pb", b"theirs")

    with pytest.raises(ConflictError):
        folder.add(saved_model(tmp_path / "m"), 1, check)
    assert store.read("1/saved_model.pb").data == b"theirs"


def test_an_object_that_was_written_anew_after_it_was_listed_is_not_deleted(gcs, tmp_path: Path):
    folder, store = open_versioned_folder("gs://bucket/serving"), open_store("gs://bucket/serving")
    folder.add(saved_model(tmp_path / "m"), 1)
    with pytest.raises(ConflictError):
        folder.remove(1, lambda: store.write("1/saved_model.pb", b"anew"))
    assert store.read("1/saved_model.pb").data == b"anew"
