"""What every store must do, in a local folder, on gs:// and on s3:// alike."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.storage import check_writable, download_folder, open_store, publish_folder, upload_folder
from tests.support.stores import every_place as place
from tests.support.stores import gcs, s3

__all__ = ["gcs", "place", "s3"]


def test_what_was_written_is_read_with_its_generation(place: str) -> None:
    store = open_store(place)
    generation = store.write("a/b.json", b"{}")
    assert (store.read("a/b.json").data, store.read("a/b.json").generation) == (b"{}", generation)


def test_a_generation_of_a_record_never_comes_again(place: str) -> None:
    store = open_store(place)
    seen = [store.write("a.json", b"{}") for _ in range(20)]
    store.delete("a.json")
    seen.append(store.write("a.json", b"{}"))
    assert len(set(seen)) == 21
    if not place.startswith("s3:"):
        assert seen == sorted(seen)  # type: ignore[type-var]
    assert store.read("a.json").data == b"{}"


def test_an_entry_says_when_it_was_written(place: str) -> None:
    store = open_store(place)
    store.write("a", b"")
    store.write("b", b"1")
    assert all(abs(entry.modified - time.time()) < 60 for entry in [*store.list(), store.stat("a")])


def test_a_folder_is_named_until_its_last_object_is_gone(place: str) -> None:
    store = open_store(place)
    for name in ("1/a", "1/b/c", "2/b/c", "3"):
        store.write(f"versions/{name}", b"")
    store.delete("versions/1/a")
    store.delete("versions/2/b/c")
    assert (store.folders("versions"), store.folders()) == (["1"], ["versions"])
    store.delete("versions/1/b/c")
    store.delete("versions/3")
    assert store.folders() == []


def test_a_write_with_an_old_generation_changes_nothing(place: str) -> None:
    store = open_store(place)
    first = store.write("a", b"1", if_generation=0)
    with pytest.raises(ConflictError):
        store.write("a", b"2", if_generation=0)
    second = store.write("a", b"3", if_generation=first)
    with pytest.raises(ConflictError):
        store.write("a", b"4", if_generation=first)
    with pytest.raises(ConflictError):
        store.delete("a", if_generation=first)
    assert store.read("a").data == b"3"
    store.delete("a", if_generation=second)
    assert not store.exists("a")


def test_of_many_writers_with_one_precondition_one_wins(place: str) -> None:
    store = open_store(place)
    generation = store.write("pointer", b"start")

    def attempt(number: int) -> int | None:
        try:
            store.write("pointer", str(number).encode(), if_generation=generation)
        except ConflictError:
            return None
        return number

    with ThreadPoolExecutor(16) as pool:
        winners = [number for number in pool.map(attempt, range(32)) if number is not None]
    assert [str(number).encode() for number in winners] == [store.read("pointer").data]


def test_listings_are_sorted_and_recursive_and_folders_are_named(place: str) -> None:
    store = open_store(place)
    for name in ("v/2/x", "v/10/y/z", "v/1", "w"):
        store.write(name, b"123456789")
    assert [entry.name for entry in store.list()] == ["v/1", "v/10/y/z", "v/2/x", "w"]
    assert [entry.name for entry in store.list("v/1")] == ["v/1", "v/10/y/z"]
    assert store.folders("v") == ["10", "2"]
    assert store.folders("none") == []
    assert {(entry.size, entry.crc32c) for entry in store.list()} == {(9, "4waSgw==")}


@pytest.mark.parametrize("root", ["file", "file/below", "."])
def test_a_place_that_is_a_file_is_said_where_something_is_written(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_text("data")
    with pytest.raises(UserError, match="is no folder: it is a file, or lies under one. Check the address"):
        open_store(tmp_path / root).write("file/x" if root == "." else "x", b"1")
    assert (tmp_path / "file").read_text() == "data"


@pytest.mark.parametrize("size", [0, 1, 9_000_000])
def test_files_go_up_and_come_back_the_same(place: str, tmp_path: Path, size: int) -> None:
    store = open_store(place)
    (tmp_path / "in").write_bytes(os.urandom(size))
    generation = store.upload(tmp_path / "in", "folder/file")
    assert store.stat("folder/file").generation == generation
    store.download("folder/file", tmp_path / "new" / "out")
    assert (tmp_path / "new" / "out").read_bytes() == (tmp_path / "in").read_bytes()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


def test_folders_go_up_and_come_back_the_same(place: str, tmp_path: Path) -> None:
    for name in ("a", "b/c", "b/d/e"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(name)
    store = open_store(place)
    upload_folder(tmp_path / "in", store, "up")
    download_folder(store, "up", tmp_path / "out")
    publish_folder(tmp_path / "out", tmp_path / "published", last=["b/c"])
    for name in ("a", "b/c", "b/d/e"):
        assert (tmp_path / "published" / name).read_text() == name


@pytest.mark.parametrize("call", ["read", "stat", "delete"])
def test_a_missing_object_is_named(place: str, call: str) -> None:
    store = open_store(place)
    with pytest.raises(NotFoundError, match="none/such"):
        getattr(store, call)("none/such")
    assert not store.exists("none/such")


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../../b", "a\\b", "a//b", ".", "a/./b"])
def test_names_that_could_escape_are_refused(place: str, name: str) -> None:
    with pytest.raises(UserError, match="no usable object name"):
        open_store(place).write(name, b"")


@pytest.mark.parametrize("uri", ["", "abfss://bucket/x", "gs://", "s3://"])
def test_an_unusable_uri_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match="give"):
        open_store(uri)


def test_whether_a_folder_can_be_written_is_tried_and_leaves_no_object(place: str) -> None:
    check_writable(place, "checkpoint_dir")
    assert open_store(place).list() == []
