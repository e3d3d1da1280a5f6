"""What is special about S3: errors, conditions, versions and folders. How it is found: test_s3_settings.py."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.leases import Lease, Watch, read_lease
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import Access, close_clients, open_store
from tests.support.models import promote_next
from tests.support.s3_calls import CALLS
from tests.support.s3_server import S3Server
from tests.support.stores import s3

__all__ = ["s3"]


@pytest.mark.parametrize(
    ("forbidden", "call", "right"),
    [
        *(("GET", call, "s3:GetObject on it, or s3:ListBucket on the bucket") for call in ("read", "stat", "delete")),
        *(("LIST", call, "s3:ListBucket on the bucket") for call in ("list", "folders")),
        ("LIST", "registry", "s3:GetObject on it, or s3:ListBucket on the bucket"),
        *(("PUT", call, "s3:PutObject on it") for call in ("write", "create")),
        *(("DELETE", call, "s3:DeleteObject on it") for call in ("delete", "create")),
    ],
)
def test_what_is_forbidden_is_said_with_who_asked_and_the_right(
    s3: S3Server, forbidden: str, call: str, right: str
) -> None:
    s3.put("bucket", "x", b"1")
    s3.create_bucket("bucket", forbidden={forbidden})
    who = r"the account of AWS_ACCESS_KEY_ID lacks the permission"
    with pytest.raises(UserError, match=rf"^s3://bucket\S* is forbidden: {who} {right}"):
        CALLS[call]("s3://bucket")


def test_what_is_not_there_in_a_bucket_that_may_not_be_listed_is_said_with_that_right(s3: S3Server) -> None:
    s3.put("bucket", "x", b"1")
    s3.create_bucket("bucket", forbidden={"LIST"})
    assert open_store("s3://bucket").read("x").data == b"1"
    with pytest.raises(UserError, match="lacks .*or s3:ListBucket on the bucket .needed where there is no object"):
        open_store("s3://bucket").read("y")


def test_a_right_that_the_store_names_is_said(s3: S3Server) -> None:
    said = b"User: me is not authorized to perform: kms:Decrypt on resource: key"  # as AWS writes it
    s3.faults.add("403", body=said)
    with pytest.raises(UserError, match=r"lacks the permission kms:Decrypt\. Grant it"):
        open_store("s3://bucket").read("x")


@pytest.mark.parametrize("call", ["list", "folders", "write", "create"])
def test_a_bucket_that_is_missing_is_said(s3: S3Server, call: str) -> None:
    with pytest.raises(NotFoundError, match=r"^s3://none\S* does not exist: there is no bucket s3://none\.$"):
        CALLS[call]("s3://none")


@pytest.mark.parametrize("call", CALLS)
def test_a_store_out_of_reach_is_said_with_its_address(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    with socket.socket() as closed:  # its port stays taken, and nobody listens
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(UserError, match=rf"^s3://bucket\S* can't be reached: .*{re.escape(address)} \(AWS_END"):
            CALLS[call]("s3://bucket")


@pytest.mark.parametrize("call", CALLS)
def test_a_store_that_stays_down_is_said(s3: S3Server, call: str) -> None:
    s3.put("bucket", "x", b"1")
    s3.faults.add("503", times=None)
    with pytest.raises(UserError, match=r"can't be reached: the store at http\S* answered 503 again and again"):
        CALLS[call]("s3://bucket")


@pytest.mark.parametrize("call", [one for one in CALLS if one != "registry"])
@pytest.mark.parametrize("kind", ["503", "reset"])
def test_a_call_that_fails_for_a_moment_is_made_again(s3: S3Server, call: str, kind: str) -> None:
    if call != "create":
        s3.put("bucket", "x", b"1")
    s3.faults.add(kind, match="^/bucket.*(x$|prefix|list)", times=2)
    store = open_store("s3://bucket", Access(patience=10))
    arguments = {"write": ("x", b"1"), "create": ("x", b"1"), "list": (), "folders": ()}.get(call, ("x",))
    options = {"if_generation": 0} if call == "create" else {}
    getattr(store, {"create": "write"}.get(call, call))(*arguments, **options)
    assert store.exists("x") == (call != "delete")


@pytest.mark.parametrize("call", CALLS)
def test_a_page_that_another_server_answers_with_is_said(s3: S3Server, call: str) -> None:
    s3.faults.add("page", times=None)
    with pytest.raises(UserError, match=r"^s3://bucket"):
        CALLS[call]("s3://bucket")


@pytest.mark.parametrize(
    ("overlooked", "named"),
    [({"if-none-match"}, "If-None-Match"), ({"if-match"}, "If-Match"), ({"if-match", "if-none-match"}, "If-Match")],
)
def test_a_store_that_overlooks_conditions_is_refused_before_anything_is_written(
    s3: S3Server, tmp_path: Path, overlooked: set[str], named: str
) -> None:
    s3.overlooks = overlooked
    with pytest.raises(UserError, match=rf"s3://bucket/registry can't be written safely: .*\({named}.*docs/s3\.md"):
        promote_next(Registry("s3://bucket/registry"), tmp_path, "first")
    assert s3.names("bucket") == []


def test_whether_a_store_keeps_to_conditions_is_tried_once(s3: S3Server) -> None:
    store = open_store("s3://bucket/folder")
    store.write("a", b"1", if_generation=0)
    probes = [path for _, path in s3.requests if ".probe-" in path]
    assert probes
    open_store("s3://bucket/folder").write("b", b"1", if_generation=0)
    assert [path for _, path in s3.requests if ".probe-" in path] == probes
    assert s3.names("bucket") == ["folder/a", "folder/b"]


@pytest.mark.parametrize("kind", ["reset", "lost_reply", "late_504"])
@pytest.mark.parametrize("skip", range(5))
def test_a_connection_that_breaks_in_the_trial_is_tried_again(s3: S3Server, kind: str, skip: int) -> None:
    fault = s3.faults.add(kind, method="PUT", match=r"\.probe-", skip=skip)
    store = open_store("s3://bucket", Access(patience=10))
    store.write("a", b"1", if_generation=0)
    assert (s3.names("bucket"), fault.hits) == (["a"], 1)


@pytest.mark.parametrize("kind", ["reset", "lost_reply", "late_504"])
def test_the_end_of_the_trial_is_tried_again(s3: S3Server, kind: str) -> None:
    fault = s3.faults.add(kind, method="DELETE", match=r"\.probe-")
    open_store("s3://bucket", Access(patience=10)).write("a", b"1", if_generation=0)
    assert (s3.names("bucket"), fault.hits) == (["a"], 1)


@pytest.mark.parametrize("skip", [1, 4])
def test_a_trial_that_fails_leaves_nothing(s3: S3Server, skip: int) -> None:
    s3.faults.add("late_403", method="PUT", match=r"\.probe-", skip=skip)
    with pytest.raises(UserError, match="forbidden"):
        open_store("s3://bucket").write("a", b"1", if_generation=0)
    assert s3.names("bucket") == []


def test_a_probe_that_a_killed_process_left_is_not_seen(s3: S3Server) -> None:
    s3.put("bucket", "registry/.probe-1", b"")
    assert open_store("s3://bucket").list() == []


def test_a_lease_that_is_renewed_with_the_same_words_has_another_generation(s3: S3Server) -> None:
    lease = Lease(open_store("s3://bucket/job"))
    lease.take()
    seen = read_lease(open_store("s3://bucket/job"))
    lease.take()
    again = read_lease(open_store("s3://bucket/job"))
    assert seen[0] == again[0] and seen[1] != again[1]
    assert not Watch(open_store("s3://bucket/job")).look()


def test_a_write_to_an_object_that_was_deleted_meanwhile_is_a_conflict(s3: S3Server) -> None:
    store = open_store("s3://bucket")
    generation = store.write("a", b"1")
    store.delete("a")
    with pytest.raises(ConflictError):
        store.write("a", b"2", if_generation=generation)
    s3.faults.add("404", method="PUT", match="/a$")  # as AWS answers, where moto says 412
    with pytest.raises(ConflictError):
        store.write("a", b"2", if_generation=generation)


def test_a_deletion_asks_the_store_to_look_at_the_generation(s3: S3Server) -> None:
    store = open_store("s3://bucket")
    generation = store.write("a", b"1")
    store.delete("a", if_generation=generation)
    assert [headers.get("if-match") for headers in s3.headers][-1] == f'"{generation}"'


def test_of_a_bucket_with_versions_the_version_that_was_listed_is_the_one_that_comes(
    s3: S3Server, tmp_path: Path
) -> None:
    s3.create_bucket("kept", versioning=True)
    store = open_store("s3://kept")
    store.write("x.csv", b"first")
    (entry,) = store.list()
    assert entry == store.stat("x.csv") and " " in str(entry.generation)
    store.write("x.csv", b"other", if_generation=entry.generation)
    store.download_entry(entry, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"first"


@pytest.mark.parametrize("listed", ["in/", "in", ""])
def test_what_consoles_make_as_folders_is_no_object(s3: S3Server, listed: str) -> None:
    for name, data in (("in/", b""), ("in/sub/", b""), ("in/empty", b""), ("in/a", b"1")):
        s3.put("bucket", name, data)
    assert [entry.name for entry in open_store("s3://bucket").list(listed)] == ["in/a", "in/empty"]


def test_what_has_the_name_of_an_object_and_a_slash_is_no_loss_of_the_object(s3: S3Server) -> None:
    for name, data in (("in/a.csv", b"1"), ("in/a.csv/", b"")):
        s3.put("bucket", name, data)
    assert [entry.name for entry in open_store("s3://bucket").list("in/")] == ["in/a.csv"]


def test_a_large_file_goes_up_in_parts_and_comes_back_checked(s3: S3Server, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(bytes(range(256)) * 80_000)  # 20 MB
    store = open_store("s3://bucket")
    store.upload(tmp_path / "in", "x")
    (entry,) = store.list()
    assert str(entry.generation).endswith("-3") and entry.crc32c
    s3.faults.add("corrupt", method="GET", match="/x$", times=2)
    store.download_entry(entry, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()


def test_bytes_that_are_not_those_of_the_etag_are_asked_for_again_and_then_refused(s3: S3Server) -> None:
    s3.put("bucket", "x", b"hello")
    fault = s3.faults.add("corrupt", method="GET", times=2)
    assert open_store("s3://bucket").read("x").data == b"hello"
    assert fault.hits == 2
    s3.faults.add("corrupt", method="GET", times=None)
    with pytest.raises(UserError, match=r"s3://bucket/x came with wrong bytes 4 times: they don't match .* the ETag"):
        open_store("s3://bucket").read("x")


def test_an_object_of_another_size_than_is_read_at_once_is_refused(s3: S3Server) -> None:
    store = open_store("s3://bucket")
    store.write("x.json", b"12345")
    assert store.read("x.json", limit=5).data == b"12345"
    with pytest.raises(UserError, match=r"s3://bucket/x\.json has more than the 4 bytes"):
        store.read("x.json", limit=4)


def test_connections_can_be_closed(s3: S3Server) -> None:
    store = open_store("s3://bucket")
    store.write("x", b"1")
    close_clients()
    assert store.read("x").data == b"1"
