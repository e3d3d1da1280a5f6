"""SIGKILL, or SIGTERM as on Kubeflow, at random moments of promotion, deployment, rollback and gc: all is whole, and
the next run ends well.

The whole count: KFP_BERT_REGISTRY_KILLS=200 python -m pytest tests/registry/test_kills.py -s
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from kfp_bert_components.deployment import deploy_to_serving_directory, open_versioned_folder
from kfp_bert_components.registry import Registry
from tests.support.models import candidate_for
from tests.support.processes import end, start
from tests.support.stores import every_place as place
from tests.support.stores import gcs, s3

__all__ = ["gcs", "place", "s3"]

KILLS = int(os.environ.get("KFP_BERT_REGISTRY_KILLS", "2"))
LEASE_SECONDS = 1.0
OPERATIONS = ("promote", "deploy", "rollback", "gc")


def operate(name: str, place: str, candidate: tuple[Path, Path, Path] | None = None, begun: Path | None = None) -> None:
    """Do one thing to the registry at `place`; the file `begun` appears when it begins."""
    registry = Registry(f"{place}/registry")
    if begun:
        begun.touch()
    if name == "promote":
        assert candidate
        registry.promote(*candidate)
    elif name == "deploy":
        deploy_to_serving_directory(registry.uri, f"{place}/serving", lease_seconds=LEASE_SECONDS)
    elif name == "rollback":
        registry.rollback(reason="a test")
    else:
        registry.gc(keep=2, unfinished_hours=0.0)


class World:
    """One registry and one serving directory, with a champion that is live and two before it."""

    def __init__(self, place: str, folder: Path) -> None:
        self.place, self.folder, self.registry = place, folder, Registry(f"{place}/registry")
        self.names = 0
        self.seconds: dict[str, float] = {}
        for name in ("promote", "promote", "promote", "deploy", "rollback", "gc"):
            started = time.monotonic()
            operate(name, place, self.candidate(name))
            self.seconds[name] = time.monotonic() - started

    def candidate(self, operation: str) -> tuple[Path, Path, Path] | None:
        """A new model for a promotion."""
        if operation != "promote":
            return None
        self.names += 1
        candidate = candidate_for(self.registry, self.folder, f"model {self.names}")
        (candidate[0] / "saved_model" / "saved_model.pb").write_text(f"graph of model {self.names}")
        return candidate

    def kill(self, name: str, candidate: tuple[Path, Path, Path] | None, seconds: float, how: str) -> bool:
        """Begin something in a process of its own and end that after some time; whether it was still at work."""
        begun = self.folder / "begun"
        begun.unlink(missing_ok=True)
        process = start(operate, name, self.place, candidate, begun)
        while not begun.exists() and process.is_alive():
            time.sleep(0.001)
        time.sleep(seconds)
        return end(process, how)

    def check(self) -> None:
        """Registry and serving directory are whole."""
        assert self.registry.verify() == []
        champion = self.registry.require_champion()
        assert champion.version in [one.version for one in self.registry.versions()]
        folder = open_versioned_folder(f"{self.place}/serving")
        assert all(folder.registry_version(number) for number in folder.complete())


@pytest.mark.long
def test_after_a_kill_the_registry_verifies_and_the_next_run_ends_well(place: str, tmp_path: Path) -> None:
    chance, world = random.Random(7), World(place, tmp_path)
    killed: Counter[str] = Counter()
    rounds = 0
    while killed.total() < KILLS:
        name = OPERATIONS[rounds % len(OPERATIONS)]
        rounds += 1
        candidate = world.candidate(name)
        if name == "deploy":  # else there is nothing to do
            operate("promote", place, world.candidate("promote"))
        how = "SIGTERM" if rounds // len(OPERATIONS) % 2 else "killed"
        killed[name] += world.kill(name, candidate, chance.uniform(0, world.seconds[name]), how)
        world.check()
        if chance.random() < 0.3:  # somebody cleans before the run is started again
            operate("gc", place)
            world.check()
        if name != "rollback":  # which would go back another step
            operate(name, place, candidate)
        world.check()
        operate("deploy", place)
        assert not world.registry.deployment_pending("production")
        world.check()
    counts = ", ".join(f"{name} {number}" for name, number in sorted(killed.items()))
    print(f"{killed.total()} killed of {rounds} rounds at {place}: {counts}")
