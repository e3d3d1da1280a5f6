"""Promotion: whole, once, by one winner, on a local folder and on gs:// alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.registry import Registry
from tests.support.models import promote_next, write_candidate
from tests.support.stores import every_place as place
from tests.support.stores import gcs, s3

__all__ = ["gcs", "place", "s3"]


def test_an_empty_registry_has_no_champion(place: str) -> None:
    registry = Registry(place)
    assert registry.champion() is None
    assert registry.versions() == []
    assert not registry.deployment_pending("production")


def test_a_promoted_model_is_champion_and_comes_back_byte_for_byte(place: str, tmp_path: Path) -> None:
    registry = Registry(place)
    bundle, *_ = candidate = write_candidate(tmp_path / "c")
    assert registry.promote(*candidate) == 1
    champion = registry.champion()
    assert champion and champion.version == 1
    registry.fetch_bundle(1, tmp_path / "out")
    for path in bundle.rglob("*"):
        if path.is_file():
            assert (tmp_path / "out" / path.relative_to(bundle)).read_bytes() == path.read_bytes()


def test_a_version_keeps_what_it_was_made_from(place: str, tmp_path: Path) -> None:
    registry = Registry(place)
    promote_next(registry, tmp_path, "a")
    promote_next(registry, tmp_path, "b")
    first, second = registry.versions()
    assert (first.parent, second.parent) == (None, 1)
    assert second.data_fingerprint == "data of b"
    assert second.parameters == {"epochs": 3, "learning_rate": 5e-05}
    assert second.metrics["macro_f1"]["value"] == 0.91
    assert {"bundle/bundle.json", "evaluation/evaluation.json", "decision/decision.json", "README.md"} <= set(
        second.files
    )


def test_promoting_again_changes_nothing(place: str, tmp_path: Path) -> None:
    registry = Registry(place)
    candidate = write_candidate(tmp_path / "c")
    assert registry.promote(*candidate) == 1
    before = [(entry.name, entry.generation) for entry in registry.store.list()]
    assert registry.promote(*candidate) == 1
    promote_next(registry, tmp_path, "next")
    assert registry.promote(*candidate) == 1
    champion = registry.champion()
    assert champion and champion.version == 2
    assert set(before) - {("champion.json", before[0][1])} <= {(e.name, e.generation) for e in registry.store.list()}


def test_the_loser_is_told_who_won_and_leaves_nothing(place: str, tmp_path: Path) -> None:
    registry = Registry(place)
    winner = write_candidate(tmp_path / "w", "w", decision_id="the-winner")
    loser = write_candidate(tmp_path / "l", "l")
    registry.promote(*winner)
    before = registry.store.list()
    with pytest.raises(
        ConflictError, match=r"Version 1 became champion first .*decision the-winner.*run the whole pipeline again"
    ):
        registry.promote(*loser)
    assert registry.store.list() == before


@pytest.mark.parametrize("outcome", ["HOLD", "REJECT"])
def test_a_decision_that_is_not_promote_is_refused(tmp_path: Path, outcome: str) -> None:
    registry = Registry(str(tmp_path / "registry"))
    with pytest.raises(UserError, match=outcome):
        registry.promote(*write_candidate(tmp_path / "c", outcome=outcome))
    assert registry.champion() is None


def test_a_decision_about_another_model_is_refused(tmp_path: Path) -> None:
    bundle, evaluation, _ = write_candidate(tmp_path / "a", "a")
    *_, decision = write_candidate(tmp_path / "b", "b")
    with pytest.raises(UserError, match="another model"):
        Registry(str(tmp_path / "registry")).promote(bundle, evaluation, decision)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    bundle, evaluation, _ = write_candidate(tmp_path / "a", "a")
    with pytest.raises(NotFoundError, match=r"decision\.json"):
        Registry(str(tmp_path / "registry")).promote(bundle, evaluation, tmp_path)


def test_a_format_from_the_future_is_refused(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path))
    registry.store.write("champion.json", b'{"format": 2}')
    with pytest.raises(UserError, match="format 2"):
        registry.champion()
