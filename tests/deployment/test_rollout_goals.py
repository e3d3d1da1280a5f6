"""The promises of a rollout, tried at every call: killed, disturbed, doubled, and under traffic.

The ordinary run takes a sample; `KFP_BERT_ROUNDS=all` takes every position and 100 rounds.
"""

import os
import signal
import threading
import time
import uuid
from contextlib import contextmanager
from itertools import count

import pytest

from kfp_bert_components.ai_platform import AiPlatformClient
from kfp_bert_components.deployment import RolloutError
from kfp_bert_components.deployment.states import IDLE
from kfp_bert_components.errors import TransientError, UserError
from tests.support.ai_platform_server import AiPlatformServer, Fault
from tests.support.rollouts import ENDPOINT, World
from tests.support.stores import gcs

__all__ = ["gcs"]
ALL = os.environ.get("KFP_BERT_ROUNDS") == "all"
ROUNDS = 100 if ALL else 5
STEP = 1 if ALL else 8
BEFORE_TRAFFIC = ("preparing", "introducing")


@contextmanager
def new_world(versions=1):
    """A world in which `versions` were promoted and all but the last one deployed."""
    with AiPlatformServer() as server:
        world = World(f"gs://bucket/{uuid.uuid4().hex[:8]}", server)
        for number in range(versions):
            world.promote()
            if number < versions - 1:
                world.deploy()
        server.calls.clear()
        yield world


def undisturbed(versions):
    with new_world(versions) as world:
        world.deploy()
        return world.state(), list(world.server.calls)


@pytest.mark.slow
@pytest.mark.parametrize(("versions", "how"), [(1, "killed"), (2, "killed"), (2, "SIGTERM")])
def test_ended_after_any_call_the_next_run_ends_in_the_same_state(gcs, versions, how):
    wanted, _ = undisturbed(versions)
    killed = 0
    for position in count(1, STEP):
        with new_world(versions) as world:
            world.server.on_call = Killer(position, how)
            run = world.server.on_call.run = world.deploy_elsewhere()
            run.join(60)
            world.server.on_call = lambda number, method: None
            assert sum(world.endpoint.traffic_split.values()) in (0, 100) if world.endpoint else True
            world.deploy(lease_seconds=0.3 if how == "killed" else 1.0)
            assert world.state() == wanted, f"{how} after call {position}"
            if run.exitcode == 0:  # it ended before it came to this call
                break
            killed += 1
    print(f"{how} at {killed} positions, every {STEP} calls")
    assert killed * STEP > 25


class Killer:
    """Ends a run after a call took effect: before the run hears of it, or by SIGTERM as on Kubeflow."""

    def __init__(self, position, how="killed"):
        self.position, self.how, self.run = position, how, None

    def __call__(self, number, method):
        if number == self.position:
            while self.run is None:
                time.sleep(0.001)
            if self.how == "SIGTERM":
                os.kill(self.run.pid, signal.SIGTERM)
                threading.Timer(0.2, self.run.kill).start()
            else:
                os.kill(self.run.pid, signal.SIGKILL)


FAULTS = [
    Fault(effect="before"),
    Fault(effect="after"),
    Fault(effect="drop"),
    Fault(effect="before", status=500),
    Fault(effect="before", status=409),
    Fault(effect="before", times=-1),
    Fault(effect="after", times=-1),
    Fault(effect="before", times=-1, status=403),
]


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [False, True], ids=["good", "wrong"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.effect}{fault.times}x{fault.status}")
def test_whatever_call_fails_traffic_is_wholly_at_old_or_new_as_recorded(gcs, fault, wrong):
    _, calls = undisturbed(2)
    for position in range(1, len(calls) + 1, 3 * STEP if not ALL else 1):
        with new_world(2) as world:
            world.wrong = {2} if wrong else set()
            world.server.faults = [
                Fault(effect=fault.effect, times=fault.times, status=fault.status, position=position)
            ]
            error = attempt(world)
            where = f"{calls[position - 1]} (call {position}) {fault.effect} {fault.times}: {error}"
            check_traffic(world, wrong, where)
            world.server.faults = []
            world.wrong = set()
            world.deploy(lease_seconds=0.3)
            assert world.state()["serving"] == {2: 100}, where
            assert world.state()["deployed"] == 1, where
            assert len(world.state()["models"]) == 2, where
            assert world.state()["record"] == ("live", 2), where


def attempt(world):
    try:
        world.deploy(lease_seconds=2)
    except (UserError, TransientError) as error:
        return repr(error)
    return ""


def check_traffic(world, wrong, where):
    serving = world.versions_serving()
    record = world.registry.deployment("production")
    step = record.details.get("step")
    assert serving in ({1: 100}, {2: 100}), where
    if (record.state, record.version) == ("live", 2) or step == "finishing":
        assert serving == {2: 100}, f"{where}: {record.state} {step}"
    else:
        assert serving == {1: 100}, f"{where}: {record.state} {step}"
    for split in world.server.cloud.splits[ENDPOINT]:
        assert sum(split.values()) == 100, where
    first = next(iter(world.server.cloud.splits[ENDPOINT][0]))
    new = [100 - split.get(first, 0) for split in world.server.cloud.splits[ENDPOINT]]
    assert not wrong or max(new) <= 20, where
    assert record.state in IDLE or step in ("reverting", "finishing", *BEFORE_TRAFFIC), where


@pytest.mark.slow
def test_of_two_rollouts_at_once_one_does_it_and_the_other_waits(gcs):
    wanted, calls = undisturbed(2)
    once = sorted(call for call in calls if not call.startswith(("Get", "List", "Predict")))
    for _ in range(ROUNDS):
        with new_world(2) as world:
            runs = [world.deploy_elsewhere(lease_seconds=5) for _ in range(2)]
            for run in runs:
                run.join(60)
            assert [run.exitcode for run in runs] == [0, 0]
            assert sorted(world.server.changing_calls()) == once
            assert world.state() == wanted


@pytest.mark.slow
def test_no_request_fails_throughout_rollouts_and_rollbacks(gcs):
    with new_world(2) as world:
        world.promote()
        world.deploy()
        stop, answered, failed = threading.Event(), [], []
        askers = [threading.Thread(target=ask, args=(world.server.url, stop, answered, failed)) for _ in range(2)]
        for asker in askers:
            asker.start()
        try:
            for number in range(ROUNDS):
                if number % 3 == 2:
                    world.wrong = {world.promote()}
                    with pytest.raises(RolloutError):
                        world.deploy()
                    world.registry.rollback()
                    world.deploy()
                elif number % 3 == 1:
                    world.registry.rollback()
                    world.deploy()
                else:
                    world.promote()
                    world.deploy()
        finally:
            stop.set()
            for asker in askers:
                asker.join()
    print(f"{len(answered)} requests answered, {len(failed)} failed, in {ROUNDS} rollouts")
    assert failed == []
    assert len(answered) > 10 * ROUNDS


def ask(url, stop, answered, failed):
    from google.cloud import aiplatform_v1 as v1
    from google.protobuf import json_format

    client = AiPlatformClient("p", "region-1", url).predictions()
    request = v1.PredictRequest(endpoint=ENDPOINT)
    json_format.ParseDict({"instances": [{"text": "HELLO"}]}, v1.PredictRequest.pb(request))
    while not stop.is_set():
        try:
            answered.append(client.predict(request, timeout=5).deployed_model_id)
        except Exception as error:
            failed.append(repr(error))
