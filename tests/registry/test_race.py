"""Many promoters at once: exactly one wins each round, and the others learn who.

The whole race:

    KFP_BERT_RACE_PROMOTERS=50 KFP_BERT_RACE_ROUNDS=200 python -m pytest tests/registry/test_race.py
"""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from kfp_bert_components.registry import Registry
from tests.support.processes import start
from tests.support.promoters import compete
from tests.support.stores import every_place as place
from tests.support.stores import gcs, s3

__all__ = ["gcs", "place", "s3"]

ROUNDS = int(os.environ.get("KFP_BERT_RACE_ROUNDS", "1"))
PROMOTERS = int(os.environ.get("KFP_BERT_RACE_PROMOTERS", "12"))


@pytest.mark.slow
def test_of_many_promoters_at_once_one_wins_and_the_others_are_told_who(place: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    barrier, results = context.Barrier(PROMOTERS), context.Queue()
    processes = [start(compete, place, tmp_path, number, ROUNDS, barrier, results) for number in range(PROMOTERS)]
    told = [results.get(timeout=600) for _ in range(PROMOTERS * ROUNDS)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    registry = Registry(place)
    champion = registry.champion()
    assert champion and len(champion.log) == ROUNDS
    for turn in range(ROUNDS):
        winners = [(number, version) for at, number, version, _ in told if at == turn and version]
        assert len(winners) == 1
        ((number, version),) = winners
        assert champion.log[turn]["decision_id"] == f"{turn}/{number}"
        losers = [message for at, _, won, message in told if at == turn and not won]
        assert len(losers) == PROMOTERS - 1
        assert all(f"Version {version} became champion first" in one for one in losers)
        assert all(f"decision {turn}/{number}" in one for one in losers)
    assert len(registry.versions()) == len(registry.numbers()) == ROUNDS
    assert registry.verify() == []
    print(f"{PROMOTERS} promoters x {ROUNDS} rounds at {place}: one winner each, the others told who won.")
