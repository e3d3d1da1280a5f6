"""Deployment records: level-triggered, changed by compare-and-swap."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfp_bert_components.errors import ConflictError, UserError
from kfp_bert_components.registry import Registry
from tests.support.models import write_candidate
from tests.support.stores import gcs, place

__all__ = ["gcs", "place"]


def test_a_champion_is_pending_until_it_is_reported_live(place: str, tmp_path: Path) -> None:
    registry = Registry(place)
    registry.promote(*write_candidate(tmp_path / "c"))
    assert registry.deployment("production").state == "none"
    assert registry.deployment_pending("production")
    registry.record_deployment("production", "rolling", 1)
    assert registry.deployment_pending("production")
    registry.record_deployment("production", "failed", 1, "smoke test failed")
    assert registry.deployment_pending("production")
    registry.record_deployment("production", "live", 1)
    assert not registry.deployment_pending("production")
    assert registry.deployment_pending("staging")


def test_a_record_changes_only_at_the_expected_generation(place: str) -> None:
    registry = Registry(place)
    first = registry.record_deployment("production", "rolling", 1, if_generation=0)
    with pytest.raises(ConflictError, match="version 1 is rolling"):
        registry.record_deployment("production", "rolling", 2, if_generation=0)
    second = registry.record_deployment("production", "live", 1, if_generation=first.generation)
    assert second.generation > first.generation
    third = registry.record_deployment("production", "rolling", 2, details={"operation": "x"})
    assert (third.live_version, third.version, third.details) == (1, 2, {"operation": "x"})


@pytest.mark.parametrize("target", ["", "../x", "a/b", ".hidden"])
def test_a_target_that_is_no_file_name_is_refused(tmp_path: Path, target: str) -> None:
    with pytest.raises(UserError, match="deployment target"):
        Registry(str(tmp_path)).deployment(target)
