"""Fetching from a storage that fails: every body is checked, what can heal is retried, the rest is said."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import shutil
import time
from collections import namedtuple
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.fetch import fetch
from kfp_bert_components.storage import Access
from tests.support.files import files_of
from tests.support.gcs_server import GcsServer
from tests.support.processes import start
from tests.support.s3_server import S3Server
from tests.support.stores import cloud, gcs, s3

__all__ = ["cloud", "gcs", "s3"]

# KFP_BERT_FAULTS=1000 for the whole count.
FAULTS = int(os.environ.get("KFP_BERT_FAULTS", "60"))
BAD_BODIES = ["corrupt", "corrupt_no_hash", "truncate", "short", "long", "longer", "swap", "swap_no_hash"]
LARGE = 20_000_000  # comes in three parts
IMPATIENT = Access(patience=1.0)


@pytest.mark.parametrize("size", [0, 1, 5000, LARGE])
@pytest.mark.parametrize("kind", [*BAD_BODIES, "503", "429", "408", "reset", "no_hash"])
def test_a_fault_that_passes_is_not_noticed(cloud: GcsServer, tmp_path: Path, kind: str, size: int) -> None:
    data = random.Random(size).randbytes(size)
    cloud.put("bucket", "in/x", data)
    cloud.faults.add(kind, method="GET", match="^/bucket/", times=2, body=b"other bytes")
    fetched = fetch([f"{cloud.root}/in/"], tmp_path / "data")
    assert files_of(tmp_path / "data") == {"x": data}
    assert fetched.bytes == size


def test_a_broken_body_goes_on_where_it_broke(cloud: GcsServer, tmp_path: Path) -> None:
    data = random.Random(0).randbytes(4_000_000)
    cloud.put("bucket", "in/x", data)
    cloud.faults.add("truncate", method="GET", match="^/bucket/", times=3)
    fetch([f"{cloud.root}/in/"], tmp_path / "data")
    assert files_of(tmp_path / "data") == {"x": data}
    ranges = [headers.get("range", "bytes=0-") for headers in cloud.headers[-4:]]
    starts = [int(one.removeprefix("bytes=").split("-")[0]) for one in ranges]
    assert starts == sorted(set(starts)) and starts[:2] != [0, 0], starts


def test_of_many_faults_none_brings_a_wrong_byte(cloud: GcsServer, tmp_path: Path) -> None:
    """Corrupt, truncated and swapped bodies of small and large objects, in every order."""
    source = random.Random(5)
    wanted = {f"{number:03}": source.randbytes(source.choice([100, 3000, 900_000])) for number in range(40)}
    wanted["large"] = source.randbytes(LARGE)
    for name, data in wanted.items():
        cloud.put("bucket", f"in/{name}", data)
    made, turn = 0, 0
    while made < FAULTS:
        turn += 1
        cloud.faults.seed = turn
        cloud.faults.clear()
        # Each object fails at most twice, so that no fetch gives up.
        faults = [
            cloud.faults.add(
                source.choice(BAD_BODIES),
                method="GET",
                match=f"^/bucket/in/{name}",
                body=source.randbytes(100),
                share=0.7,
            )
            for name in wanted
            for _ in range(2)
        ]
        fetch([f"{cloud.root}/in/"], tmp_path / str(turn))
        assert files_of(tmp_path / str(turn)) == wanted
        made += sum(fault.hits for fault in faults)
    print(f"{made} wrong bodies injected in {turn} fetches, 0 accepted")


@pytest.mark.parametrize("kind", ["corrupt", "swap_no_hash"])
@pytest.mark.parametrize("size", [100, LARGE])
def test_a_body_that_stays_wrong_is_refused(cloud: GcsServer, tmp_path: Path, kind: str, size: int) -> None:
    cloud.put("bucket", "in/good", b"good")
    cloud.put("bucket", "in/bad", b"x" * size)
    cloud.faults.add(kind, method="GET", match="^/bucket/in/bad", times=None, body=b"other bytes")
    with pytest.raises(UserError, match=rf"{cloud.root}/in/bad came with wrong bytes 4 times"):
        fetch([f"{cloud.root}/in/"], tmp_path / "data")
    assert "bad" not in files_of(tmp_path / "data")
    assert not (tmp_path / "data" / "manifest.json").exists()


@pytest.mark.parametrize("kind", ["503", "reset", "truncate"])
def test_a_storage_that_stays_down_is_named_with_the_object(cloud: GcsServer, tmp_path: Path, kind: str) -> None:
    cloud.put("bucket", "in/x", b"x" * 1000)
    cloud.faults.add(kind, method="GET", match="^/bucket/", times=None)
    with pytest.raises(UserError, match=rf"{cloud.root}/in/x can't be (fetched|reached): .*[Tt]ry again later"):
        fetch([f"{cloud.root}/in/"], tmp_path / "data", access=IMPATIENT)


def test_what_is_there_is_not_fetched_again_after_a_failure(cloud: GcsServer, tmp_path: Path) -> None:
    for number in range(20):
        cloud.put("bucket", f"in/{number:02}", f"{number}".encode() * 1000)
    cloud.faults.add("503", method="GET", match="^/bucket/in/19", times=None)
    with pytest.raises(UserError, match="in/19"):
        fetch([f"{cloud.root}/in/"], tmp_path / "data", access=IMPATIENT)
    done = set(files_of(tmp_path / "data"))
    cloud.faults.clear()
    cloud.requests.clear()
    fetch([f"{cloud.root}/in/"], tmp_path / "data")
    assert len(cloud.downloads()) == 20 - len(done)
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


@pytest.mark.parametrize(
    ("forbidden", "source", "sentence"),
    [
        ("LIST", "in/", "s3://bucket/in/ is forbidden: .* lacks the permission s3:ListBucket on the bucket. Grant it"),
        (
            "LIST",
            "in",
            "s3://bucket/in is forbidden: .* or s3:ListBucket on the bucket .needed where there is no object",
        ),
        ("GET", "in/", "s3://bucket/in/ is forbidden: .* lacks the permission s3:GetObject on it"),
    ],
)
def test_forbidden_names_the_missing_permission_of_s3(
    s3: S3Server, tmp_path: Path, forbidden: str, source: str, sentence: str
) -> None:
    s3.put("bucket", "in/x", b"x")
    s3.create_bucket("bucket", forbidden={forbidden})
    with pytest.raises(UserError, match=sentence):
        fetch([f"s3://bucket/{source}"], tmp_path / "data")


def test_a_bucket_whose_readers_pay_needs_a_project(gcs: GcsServer, tmp_path: Path) -> None:
    gcs.put("bucket", "in/x", b"x")
    gcs.create_bucket("bucket", requester_pays=True)
    with pytest.raises(UserError, match="give user_project"):
        fetch(["gs://bucket/in/"], tmp_path / "data")
    gcs.headers.clear()
    fetch(["gs://bucket/in/"], tmp_path / "data", access=Access(user_project="mine"))
    assert files_of(tmp_path / "data") == {"x": b"x"}
    assert gcs.headers[-1]["x-goog-user-project"] == "mine"


def test_too_little_room_is_said_before_anything_is_fetched(
    cloud: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.put("bucket", "in/x", b"x" * 1000)
    free = namedtuple("Usage", ["total", "used", "free"])(10**9, 10**9, 500)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    with pytest.raises(UserError, match=r"has 0\.0 MB free and the fetch needs 67\.1 MB"):
        fetch([f"{cloud.root}/in/"], tmp_path / "data")
    assert cloud.downloads() == []


def test_listings_of_many_pages_are_whole(cloud: GcsServer, tmp_path: Path) -> None:
    cloud.page_size = 7
    for number in range(50):
        cloud.put("bucket", f"in/{number}", b"x")
    assert fetch([f"{cloud.root}/in"], tmp_path / "data").files == 50


def test_a_full_disk_is_said(cloud: GcsServer, tmp_path: Path) -> None:
    cloud.put("bucket", "in/large", b"0123456789" * 100_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))  # the system writes this much and refuses the rest
    try:
        with pytest.raises(UserError, match=r"files/large can't be written: File too large. Make room"):
            fetch([f"{cloud.root}/in/"], tmp_path / "data")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files_of(tmp_path / "data") == {}


def peak_memory(source: str, target: Path, answer: Connection) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = ""
    try:
        fetch([source], target, access=IMPATIENT)
    except UserError as error:
        message = str(error)
    answer.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, message))


@pytest.mark.parametrize("times", [2, None])
@pytest.mark.parametrize("kind", ["longer", "endless", "bad_chunk"])
@pytest.mark.parametrize("size", [1000, LARGE])
def test_no_answer_takes_more_memory_than_parts_of_the_object_should_have(
    cloud: GcsServer, tmp_path: Path, size: int, kind: str, times: int | None
) -> None:
    cloud.put("bucket", "in/x", bytes(size))
    cloud.faults.add(kind, method="GET", match="^/bucket/", body=bytes(300_000_000), times=times)
    grown, message = fetched_apart(f"{cloud.root}/in/", tmp_path / "data")
    assert grown < 200_000, grown  # KiB
    if times is None:
        assert f"{cloud.root}/in/x c" in message
    else:
        assert not message and (tmp_path / "data" / "files" / "x").stat().st_size == size


def test_a_large_object_takes_no_more_memory_than_its_parts(gcs: GcsServer, tmp_path: Path) -> None:
    gcs.put("bucket", "in/x", bytes(300_000_000))
    grown, message = fetched_apart("gs://bucket/in/", tmp_path / "data")
    assert grown < 200_000 and not message, grown


def fetched_apart(source: str, target: Path) -> tuple[int, str]:
    """How many KiB a fetch in a process of its own takes, and the error that it ends with."""
    ours, theirs = multiprocessing.Pipe()
    start(peak_memory, source, target, theirs).join()
    return ours.recv()


@pytest.mark.parametrize("after", [20_000, 300_000])
def test_a_body_that_breaks_for_longer_than_the_patience_ends_well_while_it_moves_forward(
    cloud: GcsServer, tmp_path: Path, after: int
) -> None:
    data = random.Random(7).randbytes(8 * after)
    cloud.put("bucket", "in/x", data)
    fault = cloud.faults.add("truncate", method="GET", match="^/bucket/", times=None, after=after)
    fetch([f"{cloud.root}/in/"], tmp_path / "data", access=Access(patience=0.2))
    assert files_of(tmp_path / "data") == {"x": data}
    assert fault.hits >= 8


@pytest.mark.parametrize("kind", ["404", "401"])
def test_what_is_listed_and_refused_ever_after_is_said(cloud: GcsServer, tmp_path: Path, kind: str) -> None:
    cloud.put("bucket", "in/good", b"good")
    cloud.put("bucket", "in/x", b"x")
    fault = cloud.faults.add(kind, method="GET", match="^/bucket/in/x", times=None)
    with pytest.raises(UserError, match=f"{cloud.root}/in/x is (listed, but was not found 4 times|forbidden)"):
        fetch([f"{cloud.root}/in/"], tmp_path / "data")
    assert fault.hits <= 4


def test_what_is_not_found_for_a_moment_is_asked_for_again(cloud: GcsServer, tmp_path: Path) -> None:
    cloud.put("bucket", "in/x", b"x")
    cloud.faults.add("404", method="GET", match="^/bucket/in/x", times=3)
    fetch([f"{cloud.root}/in/"], tmp_path / "data")
    assert files_of(tmp_path / "data") == {"x": b"x"}


def test_connections_that_the_server_closes_while_they_are_idle_do_no_harm(cloud: GcsServer, tmp_path: Path) -> None:
    cloud.idle_seconds = 0.2
    for number in range(20):
        cloud.put("bucket", f"in/{number}", b"x" * 1000)
    for turn in range(4):
        assert fetch([f"{cloud.root}/in/"], tmp_path / str(turn), access=IMPATIENT).files == 20
        time.sleep(0.19 + 0.01 * turn)  # before, while and after the server closes them


def test_a_listing_without_sizes_is_refused(gcs: GcsServer, tmp_path: Path) -> None:
    gcs.put("bucket", "in/x", b"x" * 1000)
    gcs.faults.add("no_size", match="^/storage/", times=None)
    with pytest.raises(UserError, match="gs://bucket/in/x came without its size"):
        fetch(["gs://bucket/in/"], tmp_path / "data")


def test_a_page_that_another_server_answers_with_is_said(gcs: GcsServer, tmp_path: Path) -> None:
    gcs.put("bucket", "in/x", b"x" * 1000)
    gcs.faults.add("page", match="^/storage/", times=None)
    with pytest.raises(UserError, match="gs://bucket/in/ can't be had: the answer is not Cloud Storage's"):
        fetch(["gs://bucket/in/"], tmp_path / "data")


def test_a_listing_that_fails_is_tried_again_for_as_long_as_asked(cloud: GcsServer, tmp_path: Path) -> None:
    cloud.put("bucket", "in/x", b"x")
    cloud.faults.add("503", match=cloud.listing, times=2)
    fetch([f"{cloud.root}/in/"], tmp_path / "data")
    assert files_of(tmp_path / "data") == {"x": b"x"}
    cloud.faults.add("503", match=cloud.listing, times=None)
    started = time.monotonic()
    with pytest.raises(UserError, match=f"{cloud.root}/in/ can't be reached"):
        fetch([f"{cloud.root}/in/"], tmp_path / "other", access=IMPATIENT)
    assert time.monotonic() - started < 30
