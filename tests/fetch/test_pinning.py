"""Fetching by manifest: the same bytes again, or a clear error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.fetch import fetch
from kfp_bert_components.storage import Access
from tests.support.files import files_of
from tests.support.gcs_server import GcsServer
from tests.support.stores import cloud, gcs, s3

__all__ = ["cloud", "gcs", "s3"]

DAMAGED = "is damaged: .*give the manifest.json that a fetch wrote"


@pytest.fixture
def manifest(cloud: GcsServer, tmp_path: Path) -> str:
    cloud.put("bucket", "in/a", b"first a")
    cloud.put("bucket", "in/b", b"first b")
    fetch([f"{cloud.root}/in/"], tmp_path / "first")
    return str(tmp_path / "first" / "manifest.json")


def test_objects_that_came_later_are_left_out(cloud: GcsServer, tmp_path: Path, manifest: str) -> None:
    cloud.put("bucket", "in/c", b"new")
    first = json.loads(Path(manifest).read_text())["fingerprint"]
    for sources in ([], [f"{cloud.root}/in/"]):
        fetched = fetch(sources, tmp_path / "again", manifest=manifest)
        assert fetched.fingerprint == first
        assert files_of(tmp_path / "again") == {"a": b"first a", "b": b"first b"}


def test_an_older_generation_is_fetched_while_the_bucket_keeps_it(cloud: GcsServer, tmp_path: Path) -> None:
    cloud.create_bucket("bucket", versioning=True)
    cloud.put("bucket", "in/a", b"old")
    fetch([f"{cloud.root}/in/"], tmp_path / "first")
    cloud.put("bucket", "in/a", b"new bytes")
    fetch([], tmp_path / "again", manifest=str(tmp_path / "first"))
    assert files_of(tmp_path / "again") == {"a": b"old"}


def test_the_same_bytes_uploaded_anew_are_the_same(cloud: GcsServer, tmp_path: Path, manifest: str) -> None:
    generation = cloud.put("bucket", "in/a", b"first a")
    fetch([], tmp_path / "again", manifest=manifest)
    assert files_of(tmp_path / "again") == {"a": b"first a", "b": b"first b"}
    objects = json.loads((tmp_path / "again" / "manifest.json").read_text())["objects"]
    assert objects[0]["generation"] == generation


def test_other_bytes_are_refused_by_name(cloud: GcsServer, tmp_path: Path, manifest: str) -> None:
    cloud.put("bucket", "in/a", b"other a")
    with pytest.raises(UserError, match=f"{cloud.root}/in/a has other bytes now than its generation"):
        fetch([], tmp_path / "again", manifest=manifest)
    assert not (tmp_path / "again" / "manifest.json").exists()


def test_a_deleted_object_is_refused_by_name(cloud: GcsServer, tmp_path: Path, manifest: str) -> None:
    cloud.remove("bucket", "in/b")
    with pytest.raises(UserError, match=f"{cloud.root}/in/b was deleted"):
        fetch([], tmp_path / "again", manifest=manifest)


def test_a_manifest_in_the_bucket_will_do(cloud: GcsServer, tmp_path: Path, manifest: str) -> None:
    cloud.put("bucket", "pins/manifest.json", Path(manifest).read_bytes())
    assert fetch([], tmp_path / "again", manifest=f"{cloud.root}/pins/manifest.json").files == 2
    assert fetch([], tmp_path / "again", manifest=f"{cloud.root}/pins").files == 2


def test_local_files_are_pinned_by_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("one")
    fetch([str(tmp_path / "in")], tmp_path / "first")
    fetch([], tmp_path / "again", manifest=str(tmp_path / "first"))
    (tmp_path / "in" / "a").write_text("two")
    with pytest.raises(UserError, match="in/a does not hold the bytes"):
        fetch([], tmp_path / "third", manifest=str(tmp_path / "first"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda value: value | {"format": 2}, "has format 2, and this version reads 1"),
        (lambda value: value | {"objects": value["objects"][:1]}, "was changed since it was written"),
        (lambda value: {"format": 1}, DAMAGED),
        *(
            (lambda value, key=key, wrong=wrong: value | {"objects": [value["objects"][0] | {key: wrong}]}, DAMAGED)
            for key in ("source", "path", "generation", "size", "crc32c")
            for wrong in (None, [], 1.5)
        ),
        (lambda value: value | {"sources": [5]}, DAMAGED),
        (lambda value: value | {"sources": None}, DAMAGED),
        (lambda value: [], DAMAGED),
    ],
)
def test_a_manifest_that_is_none_is_refused(
    cloud: GcsServer, tmp_path: Path, manifest: str, change: object, sentence: str
) -> None:
    Path(manifest).write_text(json.dumps(change(json.loads(Path(manifest).read_text()))))  # type: ignore[operator]
    with pytest.raises(UserError, match=sentence):
        fetch([], tmp_path / "again", manifest=manifest)


def test_a_manifest_of_format_1_is_read() -> None:
    from kfp_bert_components.fetch.manifest import Pinned, read_manifest

    found = read_manifest(str(Path(__file__).parent / "format_1"), Access())
    assert found.sources == ["gs://bucket/films/"]
    assert found.objects[1] == Pinned("gs://bucket/films/영화.csv", "영화.csv", 1795000000000002, 0, "AAAAAA==")


def test_other_sources_than_the_manifests_are_refused(tmp_path: Path, manifest: str) -> None:
    with pytest.raises(UserError, match="are not those of the manifest"):
        fetch(["gs://bucket/else"], tmp_path / "again", manifest=manifest)


def test_a_manifest_can_not_lead_out_of_the_target(tmp_path: Path, manifest: str) -> None:
    from kfp_bert_components.fetch.manifest import Manifest, Pinned

    Manifest(["x"], [Pinned("gs://bucket/in/a", "../../escape", 1, 7, "")]).write(Path(manifest))
    with pytest.raises(UserError, match="could leave the target folder"):
        fetch([], tmp_path / "again", manifest=manifest)
