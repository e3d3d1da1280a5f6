"""Deployment records: level-triggered, changed by compare-and-swap."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kfp_bert_components.errors import ConflictError, UserError
from kfp_bert_components.registry import Registry
from tests.support.models import write_candidate
from tests.support.stores import every_place as place
from tests.support.stores import gcs, s3

__all__ = ["gcs", "place", "s3"]


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
    assert second.generation != first.generation
    if not place.startswith("s3:"):  # an ETag is a hash and has no order
        assert second.generation > first.generation
    third = registry.record_deployment("production", "rolling", 2, details={"operation": "x"})
    assert (third.live_version, third.version, third.details) == (1, 2, {"operation": "x"})


@pytest.mark.parametrize("target", ["", "../x", "a/b", ".hidden"])
def test_a_target_that_is_no_file_name_is_refused(tmp_path: Path, target: str) -> None:
    with pytest.raises(UserError, match="deployment target"):
        Registry(str(tmp_path)).deployment(target)


def test_what_a_record_keeps_of_another_place_is_a_record_too(place: str) -> None:
    registry, folder = Registry(place), {"kind": "serving directory", "uri": "gs://b/serving"}
    entry = {
        "state": "failed",
        "version": 3,
        "reason": "wrong answers",
        "live": {"version": 2, "facts": {"directory": "gs://b/serving", "number": 7, "served": "7"}},
    }
    of_facts = {"state": "pending", "version": 0, "facts": {"directory": "gs://b/other"}}
    kept = {"elsewhere": {"one": entry, "two": of_facts, "three": {**entry, "place": {"kind": "another"}}}}
    registry.record_deployment("production", "live", 1, details=kept)
    one, two, three = registry.deployment("production").elsewhere()
    assert (one.target, one.state, one.version, one.generation) == ("production", "failed", 3, 0)
    assert (one.reason, one.live_version, one.live_served) == ("wrong answers", 2, "7")
    assert one.place == folder and one.details == entry and three.place == {"kind": "another"}
    assert (two.version, two.reason, two.live_version, two.live_served) == (None, "", None, "")
    assert two.place == {"kind": "serving directory", "uri": "gs://b/other"}


def test_a_record_of_format_1_gives_the_place_and_numbers_of_what_is_live(place: str) -> None:
    registry = Registry(place)
    registry.record_deployment("production", "failed", 2)
    live = {"version": 1, "facts": {"directory": "gs://b/serving", "number": 4}}
    endpoint = {"endpoint": "projects/p/locations/l/endpoints/e", "deployed": "77", "before": {"55": 100}}
    for details, served, memory in (
        ({"facts": {"number": 6}, "live": live}, ("6", "4"), {"number": 6, "served": [4]}),
        ({"facts": {"number": 6}}, ("6", ""), {"number": 6, "served": []}),
        ({"facts": {}, "live": {"version": 1, "facts": endpoint}}, ("", "77"), {"models": ["55", "77"]}),
    ):
        record = json.loads(registry.store.read("deployments/production.json").data)
        old = {name: record[name] for name in ("target", "state", "version", "reason", "live_version", "log")}
        old |= {"format": 1, "details": details, "at": record["at"], "by": record["by"]}
        registry.store.write("deployments/production.json", json.dumps(old).encode())
        read = registry.deployment("production")
        assert ((read.served, read.live_served), read.details["memory"]) == (served, memory)
    assert read.place == {"kind": "AI Platform endpoint", "project": "p", "location": "l", "endpoint": "e"}
