"""SIGKILL at random moments while checkpoints are written: the newest one is whole, and never older than it may be.

The whole count: KFP_BERT_CHECKPOINT_KILLS=200 python -m pytest tests/training/test_checkpoint_kills.py -s
"""

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest

from kfp_bert_components.training.checkpoints import Checkpoints
from kfp_bert_components.training.state import Best, RunState
from tests.support.processes import start
from tests.support.stores import every_place as place
from tests.support.stores import gcs, s3

__all__ = ["gcs", "place", "s3"]

KILLS = int(os.environ.get("KFP_BERT_CHECKPOINT_KILLS", "6"))
SIZE = 300_000


def opened(place: str) -> Checkpoints:
    return Checkpoints(place, {"data": 1}, "model", minutes=5, steps=1)


def write_on(place: str, log: Path) -> None:
    """Write checkpoints one after the other from the step of the newest one on; `log` grows with each that is whole."""
    checkpoints = opened(place)
    found = checkpoints.restore()
    step = found.state.step if found else 0
    with log.open("a") as whole:
        while True:
            step += 1
            value = np.full(SIZE, step, np.float32)
            checkpoints.save(RunState(step=step, best=Best(0, step, 0.5, [value])), [value] * 2, [value])
            checkpoints.wait()
            whole.write(f"{step}\n")
            whole.flush()


@pytest.mark.long
def test_killed_while_writing_the_newest_checkpoint_is_whole(place, tmp_path):
    chance, log = random.Random(3), tmp_path / "log"
    log.touch()
    steps = []
    for _ in range(KILLS):
        before = log.stat().st_size
        process = start(write_on, place, log)
        while log.stat().st_size == before and process.is_alive():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        process.join()
        found = opened(place).restore()
        assert found is not None and found.state.best is not None
        steps.append(found.state.step)
        assert found.state.step >= int(log.read_text().split()[-1])
        for array in (*found.weights, *found.moments, *found.state.best.weights):
            assert array.shape == (SIZE,) and (array == found.state.step).all()
    assert steps == sorted(set(steps))
    print(f"{KILLS} killed while writing to {place}, at steps {steps[0]} to {steps[-1]}")
