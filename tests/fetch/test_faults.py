"""Fetching from a storage that fails: every body is checked, what can heal is retried, the rest is said."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.fetch import fetch
from kfp_bert_components.storage import _download, _parts
from tests.support.files import files_of
from tests.support.gcs_server import GcsServer
from tests.support.stores import gcs

__all__ = ["gcs"]

# KFP_BERT_FAULTS=1000 for the whole count.
FAULTS = int(os.environ.get("KFP_BERT_FAULTS", "100"))
BAD_BODIES = ["corrupt", "corrupt_no_hash", "truncate", "short", "long", "swap", "swap_no_hash"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without waiting, ranges small enough for a small object to have several."""
    monkeypatch.setattr(_parts, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(_parts, "PART", 400_000)
    monkeypatch.setattr(_download, "WINDOW_BYTES", 300_000)


@pytest.mark.parametrize("size", [0, 1, 5000, 1_000_000])
@pytest.mark.parametrize("kind", [*BAD_BODIES, "503", "429", "408", "reset", "no_hash"])
def test_a_fault_that_passes_is_not_noticed(gcs: GcsServer, tmp_path: Path, kind: str, size: int) -> None:
    data = random.Random(size).randbytes(size)
    gcs.put("bucket", "in/x", data)
    gcs.faults.add(kind, match="/download/", times=2, body=b"other bytes")
    fetched = fetch(["gs://bucket/in/"], tmp_path / "data")
    assert files_of(tmp_path / "data") == {"x": data}
    assert fetched.bytes == size


def test_a_range_that_is_too_long_does_not_overwrite_the_next_one(
    gcs: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_download, "THREADS", 1)
    monkeypatch.setattr(_parts, "FIRST_DELAY", 0.2)
    data = random.Random(0).randbytes(1_000_000)
    gcs.put("bucket", "in/x", data)
    gcs.faults.add("503", match="/download/")  # the first range comes last ...
    gcs.faults.add("long", match="/download/", body=b"other bytes", skip=2)  # ... and is too long then
    fetch(["gs://bucket/in/"], tmp_path / "data")
    assert files_of(tmp_path / "data") == {"x": data}
    assert [fault.hits for fault in gcs.faults.active] == [1, 1]


def test_of_many_faults_none_brings_a_wrong_byte(gcs: GcsServer, tmp_path: Path) -> None:
    """Corrupt, truncated and swapped bodies of small and large objects, in every order."""
    source = random.Random(5)
    wanted = {f"{number:03}": source.randbytes(source.choice([100, 3000, 900_000])) for number in range(40)}
    for name, data in wanted.items():
        gcs.put("bucket", f"in/{name}", data)
    made, turn = 0, 0
    while made < FAULTS:
        turn += 1
        gcs.faults.seed = turn
        gcs.faults.clear()
        # Each object fails at most twice, so that no fetch gives up.
        faults = [
            gcs.faults.add(
                source.choice(BAD_BODIES), match=f"/download/.*{name}", body=source.randbytes(100), share=0.7
            )
            for name in wanted
            for _ in range(2)
        ]
        fetch(["gs://bucket/in/"], tmp_path / str(turn))
        assert files_of(tmp_path / str(turn)) == wanted
        made += sum(fault.hits for fault in faults)
    print(f"{made} wrong bodies injected in {turn} fetches, 0 accepted")


@pytest.mark.parametrize("kind", ["corrupt", "swap_no_hash"])
@pytest.mark.parametrize("size", [100, 1_000_000])
def test_a_body_that_stays_wrong_is_refused(gcs: GcsServer, tmp_path: Path, kind: str, size: int) -> None:
    gcs.put("bucket", "in/good", b"good")
    gcs.put("bucket", "in/bad", b"x" * size)
    gcs.faults.add(kind, match="/download/.*bad", times=None, body=b"other bytes")
    with pytest.raises(UserError, match=r"gs://bucket/in/bad .*(wrong bytes|bytes came instead)"):
        fetch(["gs://bucket/in/"], tmp_path / "data")
    assert "bad" not in files_of(tmp_path / "data")
    assert not (tmp_path / "data" / "manifest.json").exists()


@pytest.mark.parametrize("kind", ["503", "reset", "truncate"])
def test_a_storage_that_stays_down_is_named_with_the_object(gcs: GcsServer, tmp_path: Path, kind: str) -> None:
    gcs.put("bucket", "in/x", b"x" * 1000)
    gcs.faults.add(kind, match="/download/", times=None)
    with pytest.raises(UserError, match=r"gs://bucket/in/x can't be fetched: .* 8 times\. Try again later\."):
        fetch(["gs://bucket/in/"], tmp_path / "data")


def test_what_is_there_is_not_fetched_again_after_a_failure(gcs: GcsServer, tmp_path: Path) -> None:
    for number in range(20):
        gcs.put("bucket", f"in/{number:02}", f"{number}".encode() * 1000)
    gcs.faults.add("503", match="in/19", times=None)
    with pytest.raises(UserError, match="in/19"):
        fetch(["gs://bucket/in/"], tmp_path / "data")
    done = set(files_of(tmp_path / "data"))
    gcs.faults.clear()
    gcs.requests.clear()
    fetch(["gs://bucket/in/"], tmp_path / "data")
    assert len(gcs.downloads()) == 20 - len(done)
    assert len(files_of(tmp_path / "data")) == 20


@pytest.mark.parametrize(
    ("permission", "sentence"),
    [
        ("storage.objects.list", "lacks the permission storage.objects.list"),
        ("storage.objects.get", "lacks the permission storage.objects.get"),
    ],
)
def test_forbidden_names_the_missing_permission(gcs: GcsServer, tmp_path: Path, permission: str, sentence: str) -> None:
    gcs.put("bucket", "in/x", b"x")
    gcs.create_bucket("bucket", forbidden={permission})
    with pytest.raises(UserError, match=sentence):
        fetch(["gs://bucket/in/"], tmp_path / "data")


def test_a_bucket_whose_readers_pay_needs_a_project(gcs: GcsServer, tmp_path: Path) -> None:
    gcs.put("bucket", "in/x", b"x")
    gcs.create_bucket("bucket", requester_pays=True)
    with pytest.raises(UserError, match="give user_project"):
        fetch(["gs://bucket/in/"], tmp_path / "data")
    fetch(["gs://bucket/in/"], tmp_path / "data", user_project="mine")
    assert files_of(tmp_path / "data") == {"x": b"x"}
    assert "userProject=mine" in gcs.downloads()[-1]


def test_anonymous_access_sends_no_credentials(gcs: GcsServer, tmp_path: Path) -> None:
    gcs.put("bucket", "in/x", b"x")
    fetch(["gs://bucket/in/"], tmp_path / "data", anonymous=True)
    assert files_of(tmp_path / "data") == {"x": b"x"}


def test_too_little_room_is_said_before_anything_is_fetched(
    gcs: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    gcs.put("bucket", "in/x", b"x" * 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 500))
    with pytest.raises(UserError, match=r"has 500 bytes free and the fetch needs 67\.1 MB"):
        fetch(["gs://bucket/in/"], tmp_path / "data")
    assert gcs.downloads() == []


def test_listings_of_many_pages_are_whole(gcs: GcsServer, tmp_path: Path) -> None:
    gcs.page_size = 7
    for number in range(50):
        gcs.put("bucket", f"in/{number}", b"x")
    assert fetch(["gs://bucket/in"], tmp_path / "data").files == 50


def test_short_writes_are_finished_and_a_full_disk_is_said(
    gcs: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"large": b"0123456789" * 100_000, "small": b"small"}
    for name, data in wanted.items():
        gcs.put("bucket", f"in/{name}", data)
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: write(file, data[: len(data) // 2 + 1], at))
    fetch(["gs://bucket/in/"], tmp_path / "data")
    assert files_of(tmp_path / "data") == wanted

    def full(file: int, data: bytes, at: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UserError, match=r"can't be written: No space left on device"):
        fetch(["gs://bucket/in/"], tmp_path / "other")
