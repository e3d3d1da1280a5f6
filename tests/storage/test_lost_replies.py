"""Writes that took effect while the answer to them was lost, or came too late for a proxy: gs:// and s3:// alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfp_bert_components.errors import ConflictError, UserError
from kfp_bert_components.storage import Store, check_writable, open_store
from tests.support.gcs_server import GcsServer
from tests.support.stores import cloud, gcs, s3

__all__ = ["cloud", "gcs", "s3"]
LOST = pytest.mark.parametrize("kind", ["lost_reply", "late_504"])


@pytest.fixture
def store(cloud: GcsServer) -> Store:
    """A store that is known to keep to conditions."""
    store = open_store(f"{cloud.root}/folder")
    store.write("other", b"", if_generation=0)
    return store


@LOST
@pytest.mark.parametrize("name", ["a", "a.json"])
@pytest.mark.parametrize("new", [True, False])
def test_a_write_is_known_as_ones_own(cloud: GcsServer, store: Store, kind: str, name: str, new: bool) -> None:
    generation = 0 if new else store.write(name, b"1")
    fault = cloud.break_write(kind, name)
    written = store.write(name, b"2", if_generation=generation)
    assert (store.read(name).data, store.read(name).generation, fault.hits) == (b"2", written, 1)


@LOST
def test_an_upload_is_known_as_ones_own(cloud: GcsServer, store: Store, kind: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"1")
    fault = cloud.break_write(kind, "a")
    written = store.upload(tmp_path / "in", "a", if_generation=0)
    assert (store.stat("a").generation, fault.hits) == (written, 1)


def test_the_same_bytes_of_somebody_else_are_a_conflict(store: Store) -> None:
    store.write("a", b"1", if_generation=0)
    with pytest.raises(ConflictError):
        store.write("a", b"1", if_generation=0)


@LOST
@pytest.mark.parametrize("conditional", [True, False])
def test_a_deletion_is_known_as_ones_own(cloud: GcsServer, store: Store, kind: str, conditional: bool) -> None:
    generation = store.write("a", b"1")
    fault = cloud.faults.add(kind, match="a", method="DELETE")
    store.delete("a", if_generation=generation if conditional else None)
    assert (store.exists("a"), fault.hits) == (False, 1)


@LOST
@pytest.mark.parametrize("method", ["write", "DELETE"])
@pytest.mark.parametrize("conditions", [True, False])
def test_whether_a_place_can_be_written_is_found_out(
    cloud: GcsServer, store: Store, kind: str, method: str, conditions: bool
) -> None:
    fault = (
        cloud.break_write(kind, "check-")
        if method == "write"
        else cloud.faults.add(kind, match=r"\.check-", method="DELETE")
    )
    check_writable(store.uri, "registry", conditions=conditions)
    assert ([entry.name for entry in store.list()], fault.hits) == (["other"], 1)


def test_what_a_trial_leaves_where_nothing_may_be_deleted_is_named(cloud: GcsServer, store: Store) -> None:
    cloud.faults.add("403", match=r"\.check-", method="DELETE", times=None)
    with pytest.raises(UserError, match=r"can't be written: .*forbidden.* The empty object (\S+), by which") as raised:
        check_writable(store.uri, "registry")
    (left,) = [entry.name for entry in store.list() if entry.name != "other"]
    assert f"The empty object {store.describe(left)}, by which this was tried, is left." in str(raised.value)


@pytest.mark.parametrize("conditions", [True, False])
def test_a_trial_that_took_effect_and_failed_leaves_nothing(cloud: GcsServer, store: Store, conditions: bool) -> None:
    cloud.break_write("late_403", "check-")
    with pytest.raises(UserError, match=r"^registry \S+ can't be written: .*forbidden"):
        check_writable(store.uri, "registry", conditions=conditions)
    assert [entry.name for entry in store.list()] == ["other"]
