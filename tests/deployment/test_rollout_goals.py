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

from kfp_bert_components.deployment import RolloutError
from kfp_bert_components.deployment.states import IDLE
from kfp_bert_components.errors import TransientError, UserError
from tests.support import ai_platform_server, kubernetes_server
from tests.support.ai_platform_server import AiPlatformServer
from tests.support.kserve_rollouts import KServeWorld
from tests.support.kubernetes_server import KubernetesServer
from tests.support.rollouts import World
from tests.support.stores import gcs

__all__ = ["gcs"]
ALL = os.environ.get("KFP_BERT_ROUNDS") == "all"
ROUNDS = 100 if ALL else 5
STEP = 1 if ALL else 16
BEFORE_TRAFFIC = ("preparing", "introducing")


def ai_platform(registry):
    server = AiPlatformServer()
    return server, World(registry, server), ai_platform_server.Fault


def kserve(registry, mode="Standard"):
    server = KubernetesServer(factor=200)
    return server, KServeWorld(registry, server, mode), kubernetes_server.Fault


def knative(registry):
    return kserve(registry, "Knative")


def gateway(registry):
    return kserve(registry, "Gateway")


# A rollout to KServe waits for pods, so the sample has fewer of them.
SPARSE = {ai_platform: 1, kserve: 1 if ALL else 2, knative: 1, gateway: 1}
# Of the other two modes the ordinary run tries what test_kserve_knative.py and test_kserve_canary.py have.
KINDS = pytest.mark.parametrize(
    "kind", [ai_platform, kserve, *([knative, gateway] if ALL else [])], ids=lambda kind: kind.__name__
)
SHARED = (knative, gateway)  # where versions get shares of the requests


@contextmanager
def new_world(kind, versions=1):
    """A world in which `versions` were promoted and all but the last one deployed; and its class of faults."""
    server, world, fault = kind(f"gs://bucket/{uuid.uuid4().hex[:8]}")
    with server:
        for number in range(versions):
            world.promote()
            if number < versions - 1:
                world.deploy()
        server.calls.clear()
        yield world, fault


def undisturbed(kind, versions):
    with new_world(kind, versions) as (world, _):
        world.deploy()
        return world.state(), [str(call) for call in world.server.calls], sorted(world.changes())


@pytest.mark.long
@pytest.mark.parametrize(("versions", "how"), [(1, "killed"), (2, "killed"), (2, "SIGTERM")])
@KINDS
def test_ended_after_any_call_the_next_run_ends_in_the_same_state(gcs, kind, versions, how):
    wanted, _, _ = undisturbed(kind, versions)
    killed, step = 0, STEP * SPARSE[kind]
    for position in count((step + 1) // 2, step):
        with new_world(kind, versions) as (world, _):
            world.server.on_call = Killer(position, how)
            run = world.server.on_call.run = world.deploy_elsewhere()
            run.join(60)
            world.server.on_call = lambda number, method: None
            world.check_share()
            world.deploy(lease_seconds=0.3 if how == "killed" else 1.0)
            assert world.state() == wanted, f"{how} after call {position}"
            if run.exitcode == 0:  # it ended before it came to this call
                break
            killed += 1
    print(f"{how} at {killed} positions, every {step} calls")
    assert killed * step > 20


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


# Effect, times and status.
FAULTS = [
    ("before", 1, 503),
    ("after", 1, 503),
    ("drop", 1, 503),
    ("before", 1, 500),
    ("before", 1, 409),
    ("before", -1, 503),
    ("after", -1, 503),
    ("before", -1, 403),
]


@pytest.mark.long
@pytest.mark.parametrize("wrong", [False, True], ids=["good", "wrong"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: "{}{}x{}".format(*fault))
@KINDS
def test_whatever_call_fails_traffic_is_wholly_at_old_or_new_as_recorded(gcs, kind, fault, wrong):
    wanted, calls, _ = undisturbed(kind, 2)
    effect, times, status = fault
    first = 1 if ALL else 2 + (4 * FAULTS.index(fault) + 2 * wrong) % len(calls)
    for position in range(first, len(calls) + 1, 3 * STEP * SPARSE[kind] if not ALL else 1):
        with new_world(kind, 2) as (world, make_fault):
            world.wrong = {2} if wrong else set()
            there = make_fault(effect=effect, times=times, status=status, position=position)
            world.server.faults = [there]
            error = attempt(world)
            where = f"{calls[position - 1]} (call {position}) {effect} {times}: {error}"
            # Where nothing can be written any more, nobody can take the requests back.
            lost = kind in SHARED and (effect, times, there.verb) == ("before", -1, "patch")
            time.sleep(0.05 if kind in SHARED else 0.0)  # 10 s there, in which KServe follows what was written blindly
            check_traffic(world, wrong, where, may_be_split=lost and not wrong)
            world.server.faults = []
            world.wrong = set()
            world.deploy(lease_seconds=0.3)
            assert world.state() == wanted, where


def attempt(world):
    try:
        world.deploy(lease_seconds=2)
    except (UserError, TransientError) as error:
        return repr(error)
    return ""


def check_traffic(world, wrong, where, may_be_split=False):
    serving = world.versions_serving()
    record = world.registry.deployment("production")
    step = record.details.get("step")
    if may_be_split and step == "reverting":
        assert sum(serving.values()) == 100 and set(serving) <= {1, 2}, where
        return
    assert serving in ({1: 100}, {2: 100}), where
    if (record.state, record.version) == ("live", 2) or step == "finishing":
        assert serving == {2: 100}, f"{where}: {record.state} {step}"
    else:
        assert serving == {1: 100}, f"{where}: {record.state} {step}"
    world.check_shares(wrong, where)
    assert record.state in IDLE or step in ("reverting", "finishing", *BEFORE_TRAFFIC), where


@pytest.mark.long
@KINDS
def test_of_two_rollouts_at_once_one_does_it_and_the_other_waits(gcs, kind):
    wanted, _, once = undisturbed(kind, 2)
    for _ in range(max(1, ROUNDS // SPARSE[kind])):
        with new_world(kind, 2) as (world, _):
            runs = [world.deploy_elsewhere(lease_seconds=5) for _ in range(2)]
            for run in runs:
                run.join(60)
            assert [run.exitcode for run in runs] == [0, 0]
            assert sorted(world.changes()) == once
            assert world.state() == wanted


@pytest.mark.long
@KINDS
def test_no_request_fails_throughout_rollouts_and_rollbacks(gcs, kind):
    with new_world(kind, 2) as (world, _):
        world.promote()
        world.deploy()
        stop, answered, failed = threading.Event(), [], []
        askers = [threading.Thread(target=ask, args=(world, stop, answered, failed)) for _ in range(2)]
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


def ask(world, stop, answered, failed):
    send = world.asker()
    while not stop.is_set():
        try:
            answered.append(send())
        except Exception as error:
            failed.append(repr(error))
