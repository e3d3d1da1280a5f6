"""What gc keeps: the former champions that it was asked to, whatever is gone or was marked by a gc that was killed."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from kfp_bert_components.registry import Registry
from tests.support.models import candidate_for, promote_next
from tests.support.promoters import interrupt
from tests.support.stores import gcs, place, s3

__all__ = ["gcs", "place", "s3"]


@pytest.fixture
def registry(place: str, tmp_path: Path) -> Registry:
    """A registry with the versions 1 to 5, the last one champion."""
    registry = Registry(place)
    for name in "abcde":
        promote_next(registry, tmp_path, name)
    return registry


def delete(registry: Registry, version: int) -> None:
    """As `verify` advises where a version is damaged."""
    for entry in registry.store.list(f"versions/{version}/"):
        registry.store.delete(entry.name)


def kill_gc(registry: Registry, call: str, name: str, keep: int) -> None:
    """Run gc and end it before this call to the store."""

    def die() -> None:
        raise KeyboardInterrupt

    killed = Registry(registry.uri)
    interrupt(killed, call, name, die)
    with pytest.raises(KeyboardInterrupt):
        killed.gc(keep=keep)


def mark(registry: Registry, version: int) -> str:
    return str(json.loads(registry.store.read(f"versions/{version}/claim.json").data)["removing"])


@pytest.mark.parametrize("how", ["gone", "not complete", "damaged"])
def test_a_former_champion_that_none_can_go_back_to_uses_up_no_place(registry: Registry, how: str) -> None:
    if how == "gone":
        delete(registry, 4)
    elif how == "damaged":
        registry.store.write("versions/4/version.json", b"{}")
    else:
        registry.store.delete("versions/4/version.json")
    swept = registry.gc(keep=2)
    assert swept.remove.keys() == {1}
    assert swept.keep[2] == swept.keep[3] == "one of the 2 newest former champions"
    assert (4 in swept.keep) == (how != "gone")  # it may come back from a backup
    assert registry.rollback().version == 3


def test_what_rollback_goes_back_to_is_one_of_those_that_are_kept(registry: Registry) -> None:
    registry.rollback(2)
    swept = registry.gc(keep=1)
    assert swept.remove.keys() == {3, 4, 5}
    assert swept.keep[1] == "the version that rollback goes back to"
    assert swept.remove[5] == "version 1, which rollback goes back to, is kept in its place"
    assert registry.rollback().version == 1


def test_a_mark_of_a_gc_that_was_killed_does_not_decide_on_a_former_champion(registry: Registry) -> None:
    kill_gc(registry, "delete", "versions/1/version.json", keep=1)
    assert mark(registry, 1) == "older than the newest former champion"
    registry.store.write("deployments/staging.json", b"{}")
    assert registry.gc(keep=1).remove.keys() == set()  # it may be deployed there
    assert mark(registry, 1) == ""
    registry.store.delete("deployments/staging.json")
    kill_gc(registry, "delete", "versions/1/version.json", keep=1)
    assert registry.gc(keep=4, dry_run=True).remove.keys() == set() and mark(registry, 1)
    assert registry.gc(keep=4).remove.keys() == set() and mark(registry, 1) == ""
    assert registry.rollback(1).version == 1 and registry.verify() == []


def test_a_former_champion_that_is_half_removed_goes(registry: Registry) -> None:
    kill_gc(registry, "write", "removed/1.json", keep=3)
    assert registry.gc(keep=4).remove == {1: "older than the 3 newest former champions"}
    assert registry.numbers() == [2, 3, 4, 5] and registry.verify() == []


def test_a_version_that_may_be_deployed_where_a_record_cannot_be_read_stays(registry: Registry, tmp_path: Path) -> None:
    candidate = candidate_for(registry, tmp_path, "f")
    killed = Registry(registry.uri)
    interrupt(killed, "write", "champion.json", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        killed.promote(*candidate)
    registry.store.write("deployments/staging.json", b"{}")
    assert registry.gc(unfinished_hours=0).keep[6] == "it may be deployed where that is not known"
    registry.store.delete("deployments/staging.json")
    assert registry.gc(unfinished_hours=0).remove.keys() == {6}


def test_no_former_champion_goes_while_it_is_not_known_what_serves(registry: Registry) -> None:
    live = {"version": 4, "facts": {"number": 1}}
    registry.record_deployment("production", "failed", 5, details={"live": live, "live_is_known": False})
    swept = registry.gc(keep=1)
    assert swept.remove == {} and swept.keep[1] == "a former champion, which may be deployed where that is not known"
    assert swept.unclear[0].startswith("production: since a rollout failed it is not known what serves at ")
    registry.record_deployment("production", "failed", 5, details={"live": live})
    assert registry.gc(keep=1).remove.keys() == {1, 2, 3}


def test_a_record_that_stops_knowing_what_serves_while_gc_runs_stops_it(registry: Registry) -> None:
    unknown = {"live": {"version": 4, "facts": {"number": 1}}, "live_is_known": False}
    sweeper = Registry(registry.uri)
    write = partial(registry.record_deployment, "production", "failed", 5, details=unknown)
    interrupt(sweeper, "write", "versions/1/claim.json", write)
    assert sweeper.gc(keep=1).remove == {} and registry.numbers() == [1, 2, 3, 4, 5]
