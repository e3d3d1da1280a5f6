"""Names of objects that could leave the target folder, or fall together."""

from __future__ import annotations

import re
import time
import unicodedata
from pathlib import Path

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.fetch import fetch
from tests.support.files import files_of
from tests.support.gcs_server import GcsServer
from tests.support.stores import cloud, gcs, s3

__all__ = ["cloud", "gcs", "s3"]


@pytest.mark.parametrize(
    "name",
    [
        "../escape",
        "a/../../escape",
        "/absolute",
        "a//b",
        "a\\b",
        "..\\escape",
        "a/./b",
        "..",
        "a/..",
        "nul\0byte",
        "line\nbreak",
        "x" * 256,
        "a/../b",
    ],
)
def test_a_name_that_could_escape_is_refused_and_nothing_is_written(
    cloud: GcsServer, tmp_path: Path, name: str
) -> None:
    cloud.put("bucket", f"in/{name}", b"evil")
    cloud.put("bucket", "in/good", b"good")
    with pytest.raises(UserError, match="can't be fetched: its name"):
        fetch([f"{cloud.root}/in/"], tmp_path / "deep" / "data")
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("name", ["a//b.csv", "a/./b.csv", "./b.csv", "a/../b.csv", "/b.csv"])
def test_an_object_that_is_named_alone_and_can_not_be_had_is_in_the_error(
    cloud: GcsServer, tmp_path: Path, name: str
) -> None:
    cloud.put("bucket", name, b"x")
    with pytest.raises(UserError, match=rf"^the source '{re.escape(f'{cloud.root}/{name}')}' has a(n empty)? part"):
        fetch([f"{cloud.root}/{name}"], tmp_path / "data")


@pytest.mark.parametrize(
    "names",
    [
        ("Data.csv", "data.csv"),
        ("A/x", "a/x"),
        ("stra\u00dfe", "STRASSE"),
        (unicodedata.normalize("NFC", "caf\u00e9"), unicodedata.normalize("NFD", "caf\u00e9")),
    ],
)
def test_names_that_are_one_file_on_some_disks_are_refused(
    cloud: GcsServer, tmp_path: Path, names: tuple[str, str]
) -> None:
    for name in names:
        cloud.put("bucket", f"in/{name}", b"x")
    with pytest.raises(UserError, match="differ only by case"):
        fetch([f"{cloud.root}/in/"], tmp_path / "data")


def test_a_name_that_is_a_file_and_a_folder_is_refused(cloud: GcsServer, tmp_path: Path) -> None:
    cloud.put("bucket", "in/a", b"x")
    cloud.put("bucket", "in/a/b", b"x")
    with pytest.raises(UserError, match="a file and a folder at once"):
        fetch([f"{cloud.root}/in/"], tmp_path / "data")


def test_two_sources_with_one_name_are_refused(cloud: GcsServer, tmp_path: Path) -> None:
    cloud.put("bucket", "a/x.csv", b"1")
    cloud.put("bucket", "b/x.csv", b"2")
    with pytest.raises(UserError, match=rf"a/x\.csv and {cloud.root}/b/x\.csv would both become the file x\.csv"):
        fetch([f"{cloud.root}/a/x.csv", f"{cloud.root}/b/x.csv"], tmp_path / "data")


def test_unusual_but_harmless_names_come_whole(cloud: GcsServer, tmp_path: Path) -> None:
    names = [
        "sp ace.csv",
        "per%cent",
        "question?",
        "hash#1",
        "caf\u00e9/\u6587.txt",
        "\ud55c\uae00/%25#?.csv",
        "...",
        "a+b&c=d",
        "-rf",
        "x" * 255,
    ]
    for name in names:
        cloud.put("bucket", f"in/{name}", name.encode())
    fetch([f"{cloud.root}/in/"], tmp_path / "data")
    assert files_of(tmp_path / "data") == {name: name.encode() for name in names}


@pytest.mark.parametrize("sources", [[], [""], ["  "], ["http://bucket/x"], ["gs://"]])
def test_sources_that_name_nothing_are_refused(tmp_path: Path, sources: list[str]) -> None:
    with pytest.raises(UserError):
        fetch(sources, tmp_path / "data")


@pytest.mark.parametrize("beside", ["a.csv", "b.csv"])
def test_bytes_under_the_name_of_a_folder_are_not_left_out_in_silence(
    cloud: GcsServer, tmp_path: Path, beside: str
) -> None:
    cloud.put("bucket", f"in/{beside}", b"1")
    time.sleep(1.1)  # the newest object of a listing is looked at
    cloud.put("bucket", "in/b.csv/", b"2")
    with pytest.raises(UserError, match=f"{cloud.root}/in/b.csv/ holds bytes, and its name ends with '/'"):
        fetch([f"{cloud.root}/in"], tmp_path / "out")
