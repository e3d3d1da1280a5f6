"""A promotion that is tried again: it is not made twice, and it removes nothing that is or was champion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kfp_bert_components.errors import ConflictError
from kfp_bert_components.registry import Registry
from tests.support.models import candidate_for, promote_next
from tests.support.promoters import beat_by, interrupt
from tests.support.stores import gcs, place, s3

__all__ = ["gcs", "place", "s3"]

Candidate = tuple[Path, Path, Path]


def die() -> None:
    raise KeyboardInterrupt


def promote_and_die_before(registry: Registry, candidate: Candidate, call: str, name: str, after: bool = False) -> None:
    interrupt(registry, call, name, die, after)
    with pytest.raises(KeyboardInterrupt):
        registry.promote(*candidate)


@pytest.fixture
def first(place: str, tmp_path: Path) -> tuple[Registry, Candidate]:
    """A registry with one champion, and a model that was compared with it."""
    registry = Registry(place)
    promote_next(registry, tmp_path, "first")
    return registry, candidate_for(registry, tmp_path, "second")


def test_a_version_that_a_person_made_champion_after_a_kill_stays(first, tmp_path: Path) -> None:
    registry, candidate = first
    promote_and_die_before(registry, candidate, "write", "champion.json")
    registry = Registry(registry.uri)
    registry.rollback(2)
    assert registry.promote(*candidate) == 2
    promote_next(registry, tmp_path, "third")
    assert registry.promote(*candidate) == 2
    assert [event["version"] for event in registry.require_champion().log] == [1, 2, 3]
    assert registry.numbers() == [1, 2, 3] and registry.verify() == []


def test_a_version_that_a_person_makes_champion_meanwhile_stays(first) -> None:
    registry, candidate = first
    promote_and_die_before(registry, candidate, "write", "champion.json")
    registry = Registry(registry.uri)
    interrupt(registry, "write", "champion.json", lambda: Registry(registry.uri).rollback(2))
    assert registry.promote(*candidate) == 2
    assert registry.require_champion().version == 2 and registry.verify() == []


def test_a_version_that_becomes_champion_while_the_promotion_gives_up_stays(first) -> None:
    registry, candidate = first
    promote_and_die_before(registry, candidate, "write", "champion.json")
    other = Registry(registry.uri)
    promote_next(other, candidate[0].parent.parent, "rival")
    interrupt(other, "delete", "versions/2/version.json", lambda: Registry(registry.uri).rollback(2))
    with pytest.raises(ConflictError, match="Version 3 became champion first"):
        other.promote(*candidate)
    assert other.require_champion().version == 2 and other.verify() == []
    assert other.promote(*candidate) == 2


@pytest.mark.parametrize("seen", ["claim", "deployment", "earlier deployment", "a record that can't be read"])
def test_a_version_that_an_older_pointer_does_not_know_of_stays(first, capsys, seen: str) -> None:
    registry, candidate = first
    old = registry.store.read("champion.json").data
    if seen == "claim":
        assert registry.promote(*candidate) == 2
    else:
        promote_and_die_before(registry, candidate, "write", "champion.json", after=True)
    registry = Registry(registry.uri)
    registry.record_deployment("production", "live", 2 if "deployment" in seen else 1)
    if seen == "earlier deployment":
        registry.record_deployment("production", "live", 1)
    registry.store.write("champion.json", old)
    if seen.startswith("a record"):
        registry.store.write("deployments/staging.json", b"{}")
        with pytest.raises(ConflictError, match="Version 1 became champion first"):
            registry.promote(*candidate)
    else:
        assert registry.promote(*candidate) == 2
        assert "version 2 was promoted by this decision before, but" in capsys.readouterr().out
        assert any(problem.startswith("Version 2 was promoted, but") for problem in registry.verify())
    assert 2 in registry.gc(keep=1, unfinished_hours=0).keep
    assert registry.require_champion().version == 1 and registry.rollback(2).version == 2


def test_a_version_whose_claim_was_deleted_while_it_was_promoted_stays(first) -> None:
    registry, candidate = first

    def others_promote_and_delete_the_claim() -> None:
        other = Registry(registry.uri)
        assert other.promote(*candidate) == 2
        other.store.delete("versions/2/claim.json")

    interrupt(registry, "write", "versions/2/version.json", others_promote_and_delete_the_claim)
    assert registry.promote(*candidate) == 2
    assert [event["version"] for event in registry.require_champion().log] == [1, 2]
    assert registry.verify() == []


def test_the_number_of_a_loser_is_not_used_again(first, tmp_path: Path) -> None:
    registry, candidate = first
    loser, other = candidate_for(registry, tmp_path, "loser"), Registry(registry.uri)

    def lose() -> None:
        beat_by(other, candidate)  # which has stored version 2 by now
        with pytest.raises(ConflictError, match="Version 2 became champion first"):
            other.promote(*loser)

    interrupt(registry, "write", "champion.json", lose)
    assert registry.promote(*candidate) == 2
    registry = Registry(registry.uri)
    assert registry.numbers() == [1, 2]
    assert promote_next(registry, tmp_path, "next") == 4
    assert registry.verify() == []
    removed = "Version 3 was removed: it never became champion, as another run was first."
    assert removed in [event.text for event in registry.history()]


def test_a_loser_that_is_killed_while_it_gives_up_goes_on_with_that(first, tmp_path: Path) -> None:
    registry, candidate = first
    promote_and_die_before(registry, candidate, "write", "champion.json")
    registry = Registry(registry.uri)
    promote_next(registry, tmp_path, "rival")
    promote_and_die_before(registry, candidate, "write", "removed/2.json")
    registry = Registry(registry.uri)
    assert "another run was first" in json.loads(registry.store.read("versions/2/claim.json").data)["removing"]
    with pytest.raises(ConflictError):
        registry.promote(*candidate)
    assert registry.numbers() == [1, 3] and registry.store.exists("removed/2.json")
    assert registry.store.list("promotions/", checksums=False) != []  # the rival's
    assert registry.verify() == []
