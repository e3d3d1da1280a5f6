"""What is seen of the sources without reading them, and what a fetch does where they changed since."""

import os
import time
from pathlib import Path

import pytest

from kfp_bert_components.errors import ConflictError, UserError
from kfp_bert_components.fetch import fetch, fingerprint, look
from kfp_bert_components.storage import Access, open_store
from tests.support.files import files_of, folders_of_one_moment
from tests.support.gcs_server import GcsServer
from tests.support.stores import cloud, gcs, s3

__all__ = ["cloud", "gcs", "s3"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text("first a")
    (folder / "b.csv").write_text("first b")
    return folder


def seen(*sources: object) -> str:
    return fingerprint(look([str(source) for source in sources], Access())[0].objects)


def pinned(folder: Path, pin: Path) -> str:
    look([str(folder)], Access())[0].write(pin)
    return str(pin)


def test_local_files_are_not_read(folder: Path) -> None:
    with (folder / "large").open("wb") as file:
        file.truncate(1 << 42)  # reading 4 TiB would take hours
    manifest, sizes = look([str(folder)], Access())
    assert sizes == {str(folder): (3, (1 << 42) + 14)}
    assert {one.crc32c for one in manifest.objects} == {""}


def test_the_same_files_have_the_same_fingerprint_whatever_the_order_of_the_sources(folder: Path) -> None:
    assert seen(folder / "a.csv", folder / "b.csv") == seen(folder / "b.csv", folder / "a.csv") == seen(folder)


def keep_time(path: Path) -> None:
    status = path.stat()
    path.write_text("other a")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text("other a"),
        keep_time,
        lambda path: path.rename(path.with_name("c.csv")),
        lambda path: path.unlink(),
        lambda path: path.with_name("c.csv").touch(),
        lambda path: os.utime(path),
    ],
    ids=["bytes", "bytes with size and time kept", "name", "removed", "added", "time"],
)
def test_a_change_on_a_disk_is_another_fingerprint(folder: Path, change) -> None:
    before = seen(folder)
    change(folder / "a.csv")
    assert seen(folder) != before


@pytest.mark.parametrize("change", ["link", "name"])
def test_another_folder_with_the_same_names_sizes_and_times_is_another_fingerprint(tmp_path: Path, change: str) -> None:
    one, other, now = folders_of_one_moment(tmp_path / "v1", tmp_path / "v2", name="a.csv", now=tmp_path / "now")
    before = seen(now)
    if change == "link":
        now.unlink()
        now.symlink_to(other)
    else:
        one.rename(tmp_path / "old")
        other.rename(one)
    assert seen(now) != before


def test_on_a_mounted_bucket_the_inode_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other, now = folders_of_one_moment(tmp_path / "v1", tmp_path / "v2", name="a.csv", now=tmp_path / "now")
    (tmp_path / "mounts").write_text(f"bucket {tmp_path} fuse.gcsfuse rw 0 0\n")
    monkeypatch.setattr("kfp_bert_components.storage.mounts.MOUNTS", tmp_path / "mounts")
    before = seen(now)
    one.rename(tmp_path / "old")
    other.rename(one)  # as in another pod: the same file by all but its inode
    assert seen(now) == before


def test_in_a_bucket_it_is_the_fingerprint_of_what_is_fetched(cloud: GcsServer, tmp_path: Path) -> None:
    cloud.put("bucket", "in/a", b"first a")
    cloud.put("bucket", "in/b", b"first b")
    before = seen(f"{cloud.root}/in/")
    fetched = fetch([f"{cloud.root}/in/"], tmp_path / "data")
    assert (fetched.fingerprint == before) == (cloud.scheme == "gs")  # S3 tells ETags, and no checksums
    cloud.put("bucket", "in/a", b"first a")  # a new generation with the same bytes
    assert seen(f"{cloud.root}/in/") == before
    cloud.put("bucket", "in/a", b"first b")
    assert seen(f"{cloud.root}/in/") != before


def test_what_lies_beside_the_objects_of_a_glob_changes_nothing(cloud: GcsServer) -> None:
    open_store(f"{cloud.root}/in").write("a.csv", b"first")  # has a checksum on S3 too
    before = seen(f"{cloud.root}/in/*.csv")
    time.sleep(1.1)
    cloud.put("bucket", "in/README.md", b"newest, and has none")
    assert seen(f"{cloud.root}/in/*.csv") == before


def test_what_was_looked_at_is_what_is_fetched(folder: Path, tmp_path: Path) -> None:
    pin = pinned(folder, tmp_path / "pin.json")
    (folder / "c.csv").write_text("later")
    fetched = fetch([str(folder)], tmp_path / "data", manifest=pin)
    assert files_of(tmp_path / "data") == {"a.csv": b"first a", "b.csv": b"first b"}
    # What lies in the artifact is a manifest as ever: with it the same bytes come again.
    assert fetch([], tmp_path / "again", manifest=str(tmp_path / "data")).fingerprint == fetched.fingerprint


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda path: path.write_text("other a"), "a.csv was changed since the run began: start the run again"),
        (lambda path: path.unlink(), "a.csv can't be read any more .*: start the run again"),
    ],
)
def test_a_file_that_changed_since_is_no_success(folder: Path, tmp_path: Path, change, sentence: str) -> None:
    pin = pinned(folder, tmp_path / "pin.json")
    change(folder / "a.csv")
    with pytest.raises(ConflictError, match=sentence):
        fetch([str(folder)], tmp_path / "data", manifest=pin)
    assert not (tmp_path / "data" / "manifest.json").exists()


def test_an_owner_or_a_permission_that_changed_since_does_not_end_the_run(folder: Path, tmp_path: Path) -> None:
    pin = pinned(folder, tmp_path / "pin.json")
    (folder / "a.csv").chmod(0o640)  # as Kubernetes does for a volume when a pod starts (fsGroup)
    assert fetch([str(folder)], tmp_path / "data", manifest=pin).files == 2


def test_objects_that_changed_since_come_as_they_were_or_not_at_all(cloud: GcsServer, tmp_path: Path) -> None:
    cloud.create_bucket("kept", versioning=True)
    for bucket in ("bucket", "kept"):
        cloud.put(bucket, "in/a", b"first a")
        look([f"{cloud.scheme}://{bucket}/in/"], Access())[0].write(tmp_path / bucket)
        cloud.put(bucket, "in/a", b"other a")
        cloud.put(bucket, "in/b", b"added")
    (tmp_path / "kept").rename(tmp_path / "kept.json")
    (tmp_path / "bucket").rename(tmp_path / "bucket.json")
    fetch([f"{cloud.scheme}://kept/in/"], tmp_path / "data", manifest=str(tmp_path / "kept.json"))
    assert files_of(tmp_path / "data") == {"a": b"first a"}
    with pytest.raises(UserError, match=rf"{cloud.root}/in/a has other bytes now .*had\. Restore it, or start"):
        fetch([f"{cloud.root}/in/"], tmp_path / "none", manifest=str(tmp_path / "bucket.json"))


def test_a_list_that_is_gone_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The manifest .*gone\.json does not exist: start the run again"):
        fetch([], tmp_path / "data", manifest=str(tmp_path / "gone.json"))


def test_the_list_is_read_as_the_registry_is_and_not_as_the_sources(gcs: GcsServer, tmp_path: Path) -> None:
    gcs.put("bucket", "in/a", b"first a")
    look(["gs://bucket/in/"], Access())[0].write(tmp_path / "pin.json")
    gcs.put("bucket", "registry/pins/1.json", (tmp_path / "pin.json").read_bytes())
    gcs.requests.clear(), gcs.headers.clear()
    public = Access(user_project="nobody")
    fetch(["gs://bucket/in/"], tmp_path / "data", manifest="gs://bucket/registry/pins/1.json", access=public)
    for (_, path), headers in zip(gcs.requests, gcs.headers, strict=True):
        assert ("nobody" in path + str(headers)) == ("pins" not in path)
