"""gc beside a promotion that was killed and is resumed, in every order of their calls to the storage.

All orders: KFP_BERT_ORDERS=all python -m pytest tests/registry/test_gc_and_promotion.py
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from kfp_bert_components.registry import Registry
from tests.support.models import candidate_for, promote_next
from tests.support.promoters import interleave, interrupt
from tests.support.stores import gcs, place, s3

__all__ = ["gcs", "place", "s3"]

STRIDE = 1 if os.environ.get("KFP_BERT_ORDERS") == "all" else 15
CLOCKS = {"right": 24.0, "a day ahead": 0.0}  # ages are less by a day, or hours are more: it is the same


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def killed(place: str, tmp_path: Path):
    """Makes a registry where a promotion was killed two days ago, just before it moved the pointer."""

    def make(name: object) -> tuple[Registry, tuple[Path, Path, Path]]:
        registry = Registry(f"{place}/{name}")
        promote_next(registry, tmp_path / "a", "first")
        candidate = candidate_for(registry, tmp_path / f"b-{name}", "second")
        for call, at in (("list", "versions/2/"), ("write", "champion.json")):  # with the claim, then with all files
            interrupt(registry, call, at, die)
            with pytest.raises(Killed):
                registry.promote(*candidate)
            registry = Registry(registry.uri)
            claim = json.loads(registry.store.read("versions/2/claim.json").data)
            old = (datetime.now(UTC) - timedelta(days=2)).isoformat()
            claim |= dict.fromkeys(("at" if call == "list" else "renewed",), old)
            registry.store.write("versions/2/claim.json", json.dumps(claim).encode())
        return registry, candidate

    return make


def die() -> None:
    raise Killed


def assert_promoted(registry: Registry, number: int, folder: Path) -> None:
    assert registry.require_champion().version == number
    assert registry.verify() == []
    registry.fetch_bundle(number, folder)
    assert (folder / "saved_model" / "part0").read_text() == "weights of second, part 0"
    told = f"Version {number} became champion, in place of version"
    assert any(event.text.startswith(told) for event in registry.history())
    registry.gc(keep=1, unfinished_hours=0.0)
    assert registry.verify() == []


def test_gc_removes_what_nobody_resumed_and_the_run_that_comes_later_takes_another_number(killed, tmp_path):
    registry, candidate = killed("registry")
    assert registry.gc().remove.keys() == {2}
    number = registry.promote(*candidate)
    assert number == 3  # a number is never used twice, so that nobody takes version 2 for another one
    assert_promoted(registry, number, tmp_path / "out")


def test_a_resumed_promotion_renews_its_claim(killed, tmp_path):
    registry, candidate = killed("registry")
    interrupt(registry, "write", "champion.json", die)
    with pytest.raises(Killed):
        registry.promote(*candidate)
    registry = Registry(registry.uri)
    assert "only 0.0 hours old" in registry.gc().keep[2]
    assert registry.promote(*candidate) == 2
    assert_promoted(registry, 2, tmp_path / "out")


def test_gc_that_was_killed_at_its_mark_is_gone_on_with_by_the_next_one(killed, tmp_path):
    registry, candidate = killed("registry")
    interrupt(registry, "delete", "versions/2/version.json", die)
    with pytest.raises(Killed):
        registry.gc()
    registry = Registry(registry.uri)
    assert registry.verify() == []
    assert registry.promote(*candidate) == 3
    assert registry.gc().remove.keys() == {2}
    assert_promoted(registry, 3, tmp_path / "out")


def collect(registry: Registry) -> None:
    """gc, by a clock that is a day ahead."""
    registry.gc(unfinished_hours=0.0)


@pytest.mark.parametrize(
    ("call", "name", "moves"),
    [
        ("read", "versions/2/claim.json", [1, 3]),  # the note is read, the claim not yet
        ("list", "versions/2/", [1, 3]),  # the number is claimed
        ("write", "versions/2/version.json", [1, 3]),  # all files are there
        ("write", "champion.json", [1, 2, 3]),  # too late to notice before the pointer is moved
    ],
)
def test_a_promotion_whose_version_gc_removes_meanwhile_stores_it_again(killed, tmp_path, call, name, moves):
    registry, candidate = killed("registry")
    interrupt(registry, call, name, lambda: collect(Registry(registry.uri)))
    assert registry.promote(*candidate) == 3
    assert [event["version"] for event in registry.require_champion().log] == moves
    assert Registry(registry.uri).numbers() == [1, 3]  # nothing is left behind
    assert_promoted(Registry(registry.uri), 3, tmp_path / "out")


def test_a_promotion_killed_when_it_has_moved_the_pointer_to_what_gc_removed_is_mended_by_the_next_run(
    killed, tmp_path
):
    registry, candidate = killed("registry")
    interrupt(registry, "write", "champion.json", lambda: collect(Registry(registry.uri)))
    interrupt(registry, "write", "champion.json", die, after=True)
    with pytest.raises(Killed):
        registry.promote(*candidate)
    registry = Registry(registry.uri)
    assert "The champion is version 2, which is not there" in registry.verify()[0]
    assert registry.promote(*candidate) == 3
    assert_promoted(registry, 3, tmp_path / "out")


def test_gc_that_decided_before_a_claim_was_renewed_leaves_the_version_alone(killed, tmp_path):
    registry, candidate = killed("registry")
    promoted: list[int] = []
    at = ("write", "versions/2/claim.json"), ("write", "champion.json")
    _, both_paused = interleave(
        registry.uri, lambda one: one.gc(), at[0], lambda one: promoted.append(one.promote(*candidate)), at[1]
    )
    assert both_paused and promoted == [2]
    assert_promoted(registry, 2, tmp_path / "out")


def test_what_a_promotion_stores_while_gc_ends_is_removed_too(killed, tmp_path):
    registry, candidate = killed("registry")
    promoted: list[int] = []
    at = ("write", "versions/2/version.json"), ("delete", "versions/2/claim.json")
    _, both_paused = interleave(
        registry.uri, lambda one: promoted.append(one.promote(*candidate)), at[0], collect, at[1]
    )
    assert both_paused and promoted == [3] and registry.numbers() == [1, 3]
    assert_promoted(registry, 3, tmp_path / "out")


@pytest.mark.long
@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("leader", ["promotion", "gc"])
def test_in_every_order_of_their_calls_the_champion_is_whole(killed, tmp_path, clock, leader):
    orders = 0
    for one in count(1, STRIDE):
        for two in count(1, STRIDE):
            registry, candidate = killed(f"{one}-{two}")
            numbers: list[int] = []

            def promote(registry, candidate=candidate, numbers=numbers):
                numbers.append(registry.promote(*candidate))

            def clean(registry):
                registry.gc(unfinished_hours=CLOCKS[clock])

            runs = (promote, clean) if leader == "promotion" else (clean, promote)
            _, both_paused = interleave(registry.uri, runs[0], one, runs[1], two)
            if not numbers:  # it never came to its turn
                promote(registry)
            assert_promoted(registry, numbers[0], tmp_path / f"out-{one}-{two}")
            orders += 1
            if not both_paused:
                break
        if two == 1:
            break
    assert orders > 300 / STRIDE**2 / 4
    print(f"{orders} orders, gc's clock {clock}, {leader} first")
