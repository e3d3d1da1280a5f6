"""What the tests of KServe's modes in which versions get shares of the requests have in common."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.kserve_rollouts import NAME, NAMESPACE, PODS, KServeWorld
from tests.support.kubernetes_predictors import wrong

ALL = os.environ.get("KFP_BERT_ROUNDS") == "all"
rarely = pytest.mark.skipif(not ALL, reason="tried with KFP_BERT_ROUNDS=all")
DONE = {"serving": {2: 100}, "services": [NAME], "record": ("live", 2)}
FAILED = {"serving": {1: 100}, "services": [NAME], "record": ("failed", 2)}


def stamp(predictor: dict[str, Any]) -> str:
    """Which rollout wrote a predictor: its version, a hyphen, and the run."""
    env = predictor["containers"][0]["env"]
    return next(str(one["value"]) for one in env if one["name"] == "KFP_BERT_ROLLOUT")


def spoil(world: KServeWorld, when: str, line: str) -> None:
    """From that line on version 2 answers wrongly."""
    if line == when:
        for pod in world.server.cluster.store.list(PODS, NAMESPACE):
            predictor = world.server.cluster.kubelet.predictor(pod)
            if predictor.model and predictor.model.registry_version == 2:
                predictor.model.predict = wrong


def wait_until(condition: Callable[[], Any]) -> None:
    """Wait at most ten seconds."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)
