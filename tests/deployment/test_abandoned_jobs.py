"""No job runs on when nobody waits for it, however its step ended; where somebody comes back, it goes on.

Step, shell, launcher and job are processes; a job is ended by AI Platform or by itself, as it looks at its lease. What
the steps print is not read by anybody after the launcher's end, as on Kubeflow.
"""

import json
import os
import random
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest

from kfp_bert_components.ai_platform import AiPlatformClient
from kfp_bert_components.ai_platform.running_jobs import running_jobs
from kfp_bert_components.storage import open_store
from tests.support.ai_platform_server import AiPlatformServer, Fault
from tests.support.cut_network import Network
from tests.support.kubeflow import Step
from tests.support.splits import write_small_splits
from tests.support.stores import gcs
from tests.support.waiting_step import ENDED, Machines, wait_for_job

__all__ = ["gcs"]
ALL = os.environ.get("KFP_BERT_ROUNDS") == "all"
KINDS = ("killed", "SIGTERM", "network cut", "asleep")
PARTS, ROUNDS = (4, 50) if ALL else (1, 4)
LATENCY = 0.3  # seconds between a job's creation and the answer that it was created
AT_ONCE = 10 if ALL else 4
ABANDONED = 6.0  # seconds
LONGEST = 20 * ABANDONED  # on a busy machine


@pytest.fixture
def world(gcs, tmp_path):
    """A fake AI Platform whose jobs are processes, and splits to train on."""
    write_small_splits(tmp_path)
    staged_seed.cache_clear()
    with AiPlatformServer() as server:
        machines = Machines(server.url)
        server.cloud.on_job = machines.start
        yield server, machines, tmp_path
        for step in list(machines.jobs.values()):
            step.kill()


def start_step(world, seed, url="", run="run-1", poll_seconds=0.05, **environment):
    server, _, folder = world
    arguments = (str(folder), url or server.url, seed, run, ABANDONED / 60, poll_seconds)
    return Step(wait_for_job, *arguments, log=str(folder / f"log-{seed}"), **environment)


def job_of(world, seed):
    """The newest job of a round, None if none was created."""
    named = [job for job in list(world[0].cloud.jobs.values()) if staged_seed(place_of(job)) == seed]
    return named[-1] if named else None


@cache
def staged_seed(place):
    return json.loads(open_store(place).read("job.json").data)["settings"]["seed"]


def place_of(job):
    return job.job_spec.worker_pool_specs[0].container_spec.command[-1]


def until(holds, seconds=LONGEST):
    """Wait until something holds; the seconds that it took, None where it did not."""
    started = time.monotonic()
    while not holds():
        if time.monotonic() - started > seconds:
            return None
        time.sleep(0.02)
    return time.monotonic() - started


def is_over(world, job):
    process = world[1].jobs.get(job.name)
    return job.state in ENDED and process is not None and process.wait(0) is not None


def play(world, gcs, seed):
    """One round: a step starts a job and ends in some way at some moment, and somebody comes back or does not."""
    kind, comes_back = KINDS[seed % 4], seed // 4 % 3 == 2
    with Network(world[0].url) as api, Network(gcs.url) as storage:
        step = start_step(world, seed, api.url, STORAGE_EMULATOR_HOST=storage.url)
        assert until(lambda: job_of(world, seed) is not None) is not None
        time.sleep(random.Random(seed).uniform(0.0, 3 * LATENCY))  # the step knows the job's name, or not yet
        try:
            if kind == "killed":
                step.kill()
            elif kind == "SIGTERM":
                step.terminate()
            elif kind == "network cut":
                api.cut()
                storage.cut()
            else:
                step.pause()
            ended = time.monotonic()
            outcome = take_over(world, seed) if comes_back else end_of(world, job_of(world, seed))
            return kind, outcome, time.monotonic() - ended
        finally:
            step.kill()


def end_of(world, job):
    assert until(lambda: is_over(world, job)) is not None, f"{job.name} runs on"
    # AI Platform ended it at once, or it ended itself: after a checkpoint.
    return "ended itself" if open_store(place_of(job)).exists("checkpoint") else "cancelled at once"


def take_over(world, seed):
    """The same step once more, in another run: it waits for the job that runs, or starts one, to the end."""
    again = start_step(world, seed, run="run-2")
    try:
        assert until(lambda: (job := job_of(world, seed)) and job.state not in ENDED) is not None
        time.sleep(ABANDONED)  # the job does not end: somebody waits
        job = job_of(world, seed)
        assert job.state not in ENDED
        open_store(place_of(job)).write("stop", b"")
        assert again.wait(LONGEST) == 0
    finally:
        again.kill()
    assert until(lambda: is_over(world, job)) is not None
    return "taken over"


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_no_round_leaves_a_job_that_runs_on(world, gcs, part):
    world[0].on_call = lambda number, method: time.sleep(LATENCY if method == "CreateCustomJob" else 0)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rounds = list(pool.map(lambda seed: play(world, gcs, seed), range(part * ROUNDS, (part + 1) * ROUNDS)))
    client = AiPlatformClient("p", "region-1", world[0].url)
    for (kind, outcome), count in sorted(Counter(one[:2] for one in rounds).items()):
        seconds = [one[2] for one in rounds if one[:2] == (kind, outcome)]
        print(f"{kind}: {outcome}: {count} rounds, {min(seconds):.1f} to {max(seconds):.1f} s")
    assert running_jobs(client) == []
    assert all(process.wait(0) is not None for process in world[1].jobs.values())


def test_sigterm_on_kubeflow_cancels_the_job_by_one_request_on_the_open_connection(world):
    server, _, _ = world
    step = start_step(world, 1, poll_seconds=0.6)
    assert until(lambda: server.calls.count("GetCustomJob") > 2) is not None
    time.sleep(0.3)  # between two looks
    calls = len(server.calls)
    step.terminate()
    (job,) = server.cloud.jobs.values()
    assert is_over(world, job) or until(lambda: is_over(world, job)) is not None
    after = server.calls[calls:]
    assert after.count("CancelCustomJob") == 1
    assert set(after) <= {"GetCustomJob", "CancelCustomJob"}
    assert server.ports[server.calls.index("CancelCustomJob")] in server.ports[:calls]


def test_sigterm_while_the_job_is_created_cancels_it_as_soon_as_its_name_is_known(world):
    server, _, _ = world
    server.on_call = lambda number, method: time.sleep(0.5 if method == "CreateCustomJob" else 0)
    step = start_step(world, 1)
    assert until(lambda: "CreateCustomJob" in server.calls) is not None
    os.kill(step.python, signal.SIGTERM)
    try:
        assert step.wait(LONGEST) == 143
    finally:
        step.kill()
    after = server.calls[server.calls.index("CreateCustomJob") + 1 :]
    assert after == ["CancelCustomJob"]


def test_a_lost_answer_to_the_cancellation_is_tried_again(world):
    server, _, _ = world
    server.faults = [Fault("CancelCustomJob")]
    step = start_step(world, 1)
    assert until(lambda: "GetCustomJob" in server.calls) is not None
    os.kill(step.python, signal.SIGTERM)
    try:
        assert step.wait(LONGEST) == 143
    finally:
        step.kill()
    assert server.calls.count("CancelCustomJob") == 2


def test_a_step_that_is_told_to_stop_leaves_a_job_alone_that_another_run_waits_for(world):
    server, _, folder = world
    first = start_step(world, 1)
    assert until(lambda: "GetCustomJob" in server.calls) is not None
    second = start_step(world, 1, run="run-2")
    assert until(lambda: "waits for the same job" in (folder / "log-1").read_text()) is not None
    first.terminate()
    (job,) = server.cloud.jobs.values()
    (found,) = running_jobs(AiPlatformClient("p", "region-1", server.url))
    try:
        assert found.run == "run-2"
        open_store(place_of(job)).write("stop", b"")
        assert second.wait(LONGEST) == 0
    finally:
        second.kill()
    assert "CancelCustomJob" not in server.calls


def test_a_step_that_wakes_up_says_why_its_job_ended(world):
    server, _, folder = world
    step = start_step(world, 1)
    assert until(lambda: "GetCustomJob" in server.calls) is not None
    step.pause()
    (job,) = server.cloud.jobs.values()
    assert until(lambda: is_over(world, job)) is not None
    step.resume()
    try:
        assert step.wait(LONGEST) == 1
    finally:
        step.kill()
    assert "ended as CANCELLED: Nobody has waited for this job for 0.1 minutes" in (folder / "log-1").read_text()
