"""Promotion under faults: killed after any request, replies lost, requests refused."""

from __future__ import annotations

import contextlib
import gc
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from kfp_bert_components.errors import ConflictError, UserError
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import Access
from tests.support.gcs_server import GcsServer
from tests.support.models import candidate_for, promote_next, write_candidate
from tests.support.processes import start
from tests.support.promoters import beat_by, promote_and_die
from tests.support.stores import cloud, gcs, s3, steps
from tests.support.stores import every_place as place

__all__ = ["cloud", "gcs", "place", "s3"]
Record = Callable[[str, object], None]


def contents(uri: str) -> set[str]:
    return {entry.name for entry in Registry(uri).store.list(checksums=False)}


@pytest.mark.slow
def test_killed_after_any_call_and_run_again_it_ends_as_if_nothing_had_happened(
    place: str, tmp_path: Path, record_property: Record
) -> None:
    promote_next(Registry(f"{place}/undisturbed"), tmp_path, "first")
    promote_next(Registry(f"{place}/undisturbed"), tmp_path, "second")
    for kills, position in enumerate(steps(place)):
        uri = f"{place}/{position}"
        registry = Registry(uri)
        promote_next(registry, tmp_path, "first")
        candidate = candidate_for(registry, tmp_path, "second")
        process = start(promote_and_die, uri, candidate, position)
        process.join()
        assert registry.verify() == []  # readable and whole in between
        assert registry.promote(*candidate) == 2
        assert registry.verify() == []
        assert contents(uri) == contents(f"{place}/undisturbed")
        if process.exitcode == 0:
            record_property("kills:", kills)
            break
        assert process.exitcode == -signal.SIGKILL
    assert position > 10


@pytest.mark.long
def test_a_loser_killed_after_any_call_and_run_again_leaves_nothing(
    place: str, tmp_path: Path, record_property: Record
) -> None:
    for kills, position in enumerate(steps(place)):
        uri = f"{place}/{position}"
        registry = Registry(uri)
        promote_next(registry, tmp_path, "first")
        candidate = candidate_for(registry, tmp_path, "second")
        rival = candidate_for(registry, tmp_path, "rival")
        process = start(promote_and_die, uri, candidate, position, rival)
        process.join()
        with contextlib.suppress(ConflictError):  # killed before the rival came: then it wins now
            registry.promote(*candidate)
        champion = registry.champion()
        assert champion and len(champion.log) == 2
        assert registry.verify() == []
        assert len(registry.numbers()) == len(registry.versions()) == 2
        if process.exitcode == 0:
            record_property("kills:", kills)
            break
        assert process.exitcode == -signal.SIGKILL
    assert position > 15


@pytest.mark.parametrize("match", ["champion.json", "claim.json", "promotions/", "version.json", "part0"])
@pytest.mark.parametrize("kind", ["lost_reply", "503", "reset"])
def test_a_lost_reply_or_a_refused_request_is_survived(cloud: GcsServer, tmp_path: Path, match: str, kind: str) -> None:
    registry = Registry(f"{cloud.root}/registry")
    promote_next(registry, tmp_path, "first")
    fault = cloud.break_write(kind, match)
    assert promote_next(registry, tmp_path, "second") == 2
    assert fault.hits == 1
    champion = registry.champion()
    assert champion and [event["version"] for event in champion.log] == [1, 2]
    assert registry.verify() == []
    assert registry.numbers() == [1, 2]


def test_a_lost_reply_to_a_rollback_or_a_record_is_recognised(cloud: GcsServer, tmp_path: Path) -> None:
    registry = Registry(f"{cloud.root}/registry")
    promote_next(registry, tmp_path, "first")
    promote_next(registry, tmp_path, "second")
    cloud.break_write("lost_reply")
    assert registry.rollback().version == 1
    cloud.break_write("lost_reply")
    record = registry.record_deployment("production", "live", 1, if_generation=0)
    assert record.generation == registry.deployment("production").generation


def test_a_storage_that_does_not_answer_is_named_in_a_sentence(cloud: GcsServer) -> None:
    cloud.faults.add("503", times=None)
    with pytest.raises(UserError, match=r"champion\.json can't be reached"):
        Registry(f"{cloud.root}/registry", Access(patience=1.0)).champion()
    # google-cloud-storage 3.17 does not close the replies to downloads that were refused.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_several_attempts_at_the_same_promotion_are_no_rivals(place: str, tmp_path: Path) -> None:
    candidate = write_candidate(tmp_path / "c")
    attempts = [start(promote_and_die, place, candidate, -1) for _ in range(4)]
    for attempt in attempts:
        attempt.join()
    assert [attempt.exitcode for attempt in attempts] == [0, 0, 0, 0]
    registry = Registry(place)
    assert [one.version for one in registry.versions()] == [1]
    assert registry.verify() == []


def test_a_loser_whose_rival_won_late_is_told(place: str, tmp_path: Path) -> None:
    registry = Registry(place)
    beat_by(registry, write_candidate(tmp_path / "r", "r", decision_id="rival"))
    with pytest.raises(ConflictError, match=r"Version 2 became champion first .*decision rival"):
        registry.promote(*write_candidate(tmp_path / "l", "l"))
    assert registry.numbers() == [2]
    assert registry.verify() == []
