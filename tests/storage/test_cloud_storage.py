"""What we take Cloud Storage for, on our own fake and on Google's storage-testbench alike.

The testbench takes part where STORAGE_TESTBENCH names a clone of it; `tests/support/gcs_testbench.py` says more.
"""

from __future__ import annotations

import gzip
import os
import random
import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.cloud import storage

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.storage import Access, GoneError, close_clients, open_store
from tests.support.gcs_server import GcsServer
from tests.support.gcs_testbench import Testbench

# For the fake: the kind of fault, how often, and its settings.
FAULTS = {
    "return-503": ("503", {}),
    "return-429": ("429", {}),
    "return-408": ("408", {}),
    "return-reset-connection": ("reset", {}),
    "return-broken-stream": ("truncate", {}),
    "return-broken-stream-after-256K": ("truncate", {}),
    "stall-for-1s-after-256K": ("slow", {"seconds": 1.0}),
}


@dataclass
class Cloud:
    """A server with two empty buckets; `versioned` keeps older generations."""

    server: GcsServer | Testbench
    bucket: str
    versioned: str

    def break_downloads(self, *instructions: str) -> None:
        if isinstance(self.server, Testbench):
            return self.server.break_downloads(*instructions)
        for one in instructions:
            kind, settings = FAULTS[one]
            self.server.faults.add(kind, match=f"^/{self.bucket}/", **settings)
        return None


@pytest.fixture(scope="module", params=["fake", "testbench"])
def server(request: pytest.FixtureRequest) -> Iterator[GcsServer | Testbench]:
    folder = os.environ.get("STORAGE_TESTBENCH", "")
    if request.param == "testbench" and not folder:
        pytest.skip("STORAGE_TESTBENCH names no clone of googleapis/storage-testbench")
    with GcsServer() if request.param == "fake" else Testbench(Path(folder)) as started:
        yield started


@pytest.fixture
def cloud(server: GcsServer | Testbench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    with ExitStack() as stack:
        client = storage.Client(project="project")
        stack.callback(client.close)
        names = [f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("bucket", "versioned")]
        for name in names:
            bucket = client.bucket(name)
            bucket.versioning_enabled = name.startswith("versioned")
            client.create_bucket(bucket)
        yield Cloud(server, *names)
        close_clients()


def test_writes_have_generations_and_conditions(cloud: Cloud) -> None:
    store = open_store(f"gs://{cloud.bucket}/folder")
    first = store.write("a", b"1", if_generation=0)
    with pytest.raises(ConflictError):
        store.write("a", b"2", if_generation=0)
    second = store.write("a", b"3", if_generation=first)
    assert second > first
    with pytest.raises(ConflictError):
        store.write("a", b"4", if_generation=first)
    with pytest.raises(ConflictError):
        store.delete("a", if_generation=first)
    assert (store.read("a").data, store.read("a").generation) == (b"3", second)
    store.delete("a", if_generation=second)
    with pytest.raises(NotFoundError):
        store.read("a")


def test_listings_name_size_checksum_and_generation(cloud: Cloud) -> None:
    store = open_store(f"gs://{cloud.bucket}/folder")
    generation = store.write("v/2/x", b"123456789")
    store.write("v/10/y/z", b"")
    found = store.list("v/")
    assert [entry.name for entry in found] == ["v/10/y/z", "v/2/x"]
    assert (found[1].size, found[1].crc32c, found[1].generation) == (9, "4waSgw==", generation)
    assert store.stat("v/2/x") == found[1]
    assert store.folders("v") == ["10", "2"]


@pytest.mark.parametrize("name", ["plain", "sp ace", "per%25cent", "a#b?c=d&e+f", "한글/文.txt", "...", "~[x]*"])
def test_bytes_come_from_names_of_any_kind(cloud: Cloud, tmp_path: Path, name: str) -> None:
    store = open_store(f"gs://{cloud.bucket}")
    store.write(f"in/{name}", name.encode())
    store.download(f"in/{name}", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == name.encode()


@pytest.mark.parametrize("name", ["line\nbreak", "bell\a", "deleted\x7f"])
def test_an_object_whose_bytes_cannot_be_had_is_named(cloud: Cloud, tmp_path: Path, name: str) -> None:
    store = open_store(f"gs://{cloud.bucket}")
    store.write(f"in/{name}", b"x")
    with pytest.raises(UserError, match=f"{re.escape(repr(f'{store.uri}/in/{name}'))} can't be fetched: its name"):
        store.download_entry(store.stat(f"in/{name}"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [0, 1, 20_000_000])
def test_bytes_come_whole(cloud: Cloud, tmp_path: Path, size: int) -> None:
    store = open_store(f"gs://{cloud.bucket}")
    (tmp_path / "in").write_bytes(random.Random(size).randbytes(size))
    store.upload(tmp_path / "in", "x")
    store.download("x", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()


def test_the_generation_that_was_listed_is_the_one_that_comes(cloud: Cloud, tmp_path: Path) -> None:
    store = open_store(f"gs://{cloud.versioned}")
    store.write("x", b"first")
    entry = store.stat("x")
    store.write("x", b"other")
    store.download_entry(entry, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"first"


def test_a_generation_that_is_gone_is_said(cloud: Cloud, tmp_path: Path) -> None:
    store = open_store(f"gs://{cloud.bucket}")
    store.write("x", b"first")
    entry = store.stat("x")
    store.delete("x")
    with pytest.raises(GoneError, match=f"gs://{cloud.bucket}/x was replaced or deleted"):
        store.download_entry(entry, tmp_path / "out")


def test_an_object_stored_compressed_comes_as_it_is_stored(cloud: Cloud, tmp_path: Path) -> None:
    packed = gzip.compress(b"text,label\n" * 1000)
    client = storage.Client(project="project")
    blob = client.bucket(cloud.bucket).blob("x.csv")
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed)
    client.close()
    store = open_store(f"gs://{cloud.bucket}")
    store.download("x.csv", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == packed
    assert store.read("x.csv").data == packed


@pytest.mark.parametrize("instruction", list(FAULTS))
def test_downloads_that_fail_are_tried_again(cloud: Cloud, tmp_path: Path, instruction: str) -> None:
    store = open_store(f"gs://{cloud.bucket}")
    data = random.Random(1).randbytes(1_000_000)
    store.write("x", data)
    entry = store.stat("x")
    cloud.break_downloads(instruction, instruction)
    store.download_entry(entry, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data


@pytest.mark.slow
@pytest.mark.parametrize("server", ["testbench"], indirect=True)
@pytest.mark.parametrize(
    ("instruction", "size"),
    [
        ("return-broken-stream", 3_000_000),
        ("return-broken-stream", 20_000_000),  # more than Google's client finishes: it gives up after two minutes
        ("return-503-after-256K", 3_000_000),
        ("return-503-after-256K", 20_000_000),
        ("stall-at-256KiB", 3_000_000),
    ],
)
def test_what_googles_client_finishes_ours_finishes(
    server: Testbench, cloud: Cloud, tmp_path: Path, instruction: str, size: int
) -> None:
    store = open_store(f"gs://{cloud.bucket}")
    data = random.Random(size).randbytes(size)
    store.write("x", data)
    entry = store.stat("x")
    server.break_every_download(instruction)
    try:
        store.download_entry(entry, tmp_path / "ours")
        if (instruction, size) != ("return-broken-stream", 20_000_000):
            client = storage.Client(project="project")
            client.bucket(cloud.bucket).blob("x").download_to_filename(tmp_path / "google")
            client.close()
            assert (tmp_path / "google").read_bytes() == data
    finally:
        server.break_every_download("")
    assert (tmp_path / "ours").read_bytes() == data


def test_a_storage_that_stays_down_is_said(cloud: Cloud, tmp_path: Path) -> None:
    store = open_store(f"gs://{cloud.bucket}", Access(patience=1))
    store.write("x", b"1")
    entry = store.stat("x")
    cloud.break_downloads(*["return-503"] * 100)
    with pytest.raises(UserError, match=f"gs://{cloud.bucket}/x can't be reached: Cloud Storage answered 503"):
        store.download_entry(entry, tmp_path / "out")
    assert not (tmp_path / "out").exists()
