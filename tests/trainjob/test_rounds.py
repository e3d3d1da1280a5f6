"""No TrainJob runs on when nobody waits for it, however its step ended; where somebody comes back, it goes on.

A round: a step makes a job of two workers, is ended in some way at some moment, and somebody comes back or does not.
"""

import os
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from kfp_bert_components.leases import read_lease
from kfp_bert_components.storage import open_store
from tests.support.cut_network import Network
from tests.support.kubeflow import Step
from tests.support.kubernetes_server import KubernetesServer
from tests.support.kubernetes_trainer import Trainer
from tests.support.splits import write_small_splits
from tests.trainjob.test_workers import ABANDONED, JOBS, LONGEST, run_step, start_stub, until

ALL = os.environ.get("KFP_BERT_ROUNDS") == "all"
KINDS = ("killed", "SIGTERM", "asleep", *(["network cut"] if ALL else []))
PARTS, ROUNDS = (4, 50) if ALL else (1, 3)
AT_ONCE = 5 if ALL else 3
LATENCY = 0.3  # seconds between a job's creation and the answer that it was created
HURRIED = (2.0, 5.0)  # seconds for a call to the API, and for which a step goes on whose API does not answer
RUNS_ON = "runs on"
LONG = 5 * LONGEST  # where the network is cut the step itself goes on until it gives up


class Round:
    """A cluster of its own, in which one step starts one job."""

    def __init__(self, server, folder):
        self.server, self.folder = server, folder
        self.trainer = Trainer(server.cluster, folder, start_stub)
        server.on_call = lambda number, call: time.sleep(LATENCY if str(call) == "create trainjobs" else 0)

    def job(self):
        return next(iter(self.server.cluster.store.list(JOBS)), None)

    def step(self, number, url=""):
        return Step(
            run_step,
            str(self.folder),
            url or self.server.url,
            ABANDONED,
            *HURRIED,
            log=str(self.folder / f"log-{number}"),
        )

    def is_over(self):
        job = self.job()
        ended = job is None or {"Failed", "Complete"} & {one["type"] for one in job["status"].get("conditions", ())}
        return ended and all(process.poll() is not None for process in self.trainer.processes.values())


def play(seed, folder):
    kind, comes_back = KINDS[seed % len(KINDS)], seed // len(KINDS) % 3 == 2
    folder.mkdir()
    write_small_splits(folder)
    with KubernetesServer() as server, Network(server.url) as api:
        one = Round(server, folder)
        step = one.step(1, api.url)
        try:
            place = until(one.job)["spec"]["trainer"]["command"][-1]
            time.sleep(random.Random(seed).uniform(0.0, 3 * LATENCY))  # the step has its answer, or not yet
            if kind == "killed":
                step.kill()
            elif kind == "SIGTERM":
                step.terminate()
            elif kind == "network cut":
                api.cut()
            else:
                step.pause()
            started = time.monotonic()
            outcome = take_over(one, place) if comes_back else end_of(one, place)
            return kind, outcome, time.monotonic() - started
        finally:
            step.kill()
            one.trainer.stop()


def end_of(one, place):
    try:
        until(one.is_over, LONG)
    except AssertionError:
        return RUNS_ON
    lease, _ = read_lease(open_store(place))
    return "ended itself" if lease and lease.ended else "deleted at once"


def take_over(one, place):
    again = one.step(2)
    try:
        until(lambda: "job kfp-bert-" in (((path := one.folder / "log-2").exists() and path.read_text()) or ""))
        time.sleep(ABANDONED)  # the job does not end: somebody waits
        assert one.job() is not None
        open_store(place).write("stop", b"")
        assert again.wait(LONGEST) == 0
    finally:
        again.kill()
    until(one.is_over)
    return "taken over"


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_no_round_leaves_a_job_that_runs_on(tmp_path, part):
    with ThreadPoolExecutor(AT_ONCE) as pool:
        seeds = list(range(part * ROUNDS, (part + 1) * ROUNDS))
        rounds = list(pool.map(lambda seed: play(seed, tmp_path / f"round-{seed}"), seeds))
    for (kind, outcome), count in sorted(Counter(one[:2] for one in rounds).items()):
        seconds = [one[2] for one in rounds if one[:2] == (kind, outcome)]
        print(f"{kind}: {outcome}: {count} rounds, {min(seconds):.1f} to {max(seconds):.1f} s")
    assert not [seed for seed, (_, outcome, _) in zip(seeds, rounds, strict=True) if outcome == RUNS_ON]
