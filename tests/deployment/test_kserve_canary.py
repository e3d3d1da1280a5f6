"""A rollout to KServe in its mode Standard with a gateway: a canary, shares of the requests, and the way back.

What is the same in all modes is tried by test_kserve.py, its neighbours and test_rollout_goals.py, in this mode with
`KFP_BERT_ROUNDS=all`.
"""

import os
import signal
from dataclasses import replace
from functools import partial

import pytest

from kfp_bert_components.deployment import RolloutError
from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry
from tests.support.kserve_canaries import STEPS, At, short, written
from tests.support.kserve_rollouts import CANARY, FEW, NAME, NAMESPACE
from tests.support.kserve_shares import DONE, FAILED, spoil, wait_until
from tests.support.kserve_worlds import empty, world
from tests.support.kubernetes_server import Fault

__all__ = ["empty", "world"]


@pytest.fixture
def mode():
    return "Gateway"


def test_a_version_gets_the_requests_in_steps_and_one_that_is_live_costs_five_calls(world):
    before, lines, asked = world.service(), [], []

    def look(number, call):
        if call.verb == "patch" and short(call) == "no canary":
            asked.append(dict(world.server.cluster.gateway.backends(NAMESPACE, NAME)))

    world.server.on_call = look
    world.server.cluster.seconds |= {"routes": 30.0, "proxies": 30.0}  # 0.15 s here, which is waited for
    live = world.deploy(report=lines.append, poll_seconds=0.05, stuck_seconds=5.0)
    assert written(world) == STEPS
    assert world.state() == DONE
    # KServe deletes the canary's Service at once, so the gateway must not send it anything by then.
    assert asked == [{f"{NAME}-predictor": 100, CANARY: 0}]
    assert live["facts"]["mode"] == "Canary"
    assert live["facts"]["witnesses"] == ["its Deployment", "its servers"]
    assert "version 2 gets 50 % of the requests" in lines
    assert f"asked at http://{CANARY}.{NAMESPACE}.svc.cluster.local" in "".join(lines)
    assert world.service()["metadata"]["uid"] == before["metadata"]["uid"]
    assert "delete horizontalpodautoscalers " + CANARY in world.changes()
    world.server.calls.clear()
    world.deploy(report=lines.append)
    assert lines[-1] == "version 2 is live: nothing to do"
    assert len(world.server.calls) <= 5 and world.changes() == []


def test_where_its_record_cant_be_written_any_more_the_canary_is_removed_and_the_next_run_goes_on(world, monkeypatch):
    def fail(*arguments, **options):
        raise UserError("the storage is down")

    with monkeypatch.context() as broken, pytest.raises(UserError, match="the storage is down"):
        world.deploy(report=At("gets 10 %", lambda: broken.setattr(Registry, "record_deployment", fail)))
    assert written(world)[-2:] == ["canary 0", "no canary"]
    assert world.versions_serving() == {1: 100}
    world.deploy(lease_seconds=0.3)
    assert world.state() == DONE


def test_a_wrong_version_never_gets_a_request_and_the_predictor_is_not_touched(world):
    before, world.wrong = world.service(), {2}
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy()
    assert world.service()["spec"] == before["spec"]
    assert world.state() == FAILED
    assert written(world) == ["canary 0", "no canary"]


def test_a_version_that_fails_with_a_share_of_the_requests_never_gets_all(world):
    before = world.service()
    report = partial(spoil, world, "version 2 gets 50 % of the requests")
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy(report=report, smoke=replace(FEW, bake_seconds=0.1))
    assert written(world) == ["canary 0", "canary 10", "canary 50", "canary 0", "no canary"]
    assert world.service()["spec"] == before["spec"]
    assert world.state() == FAILED


def test_a_version_that_fails_in_the_pods_of_the_predictor_is_taken_back(world):
    def break_it(number, call):
        if call.verb == "patch" and short(call) == "predictor 2":
            world.wrong = {2}  # what its pods load from now on

    before, world.server.on_call = world.service(), break_it
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy()
    assert written(world) == [*STEPS, "predictor 1"]
    assert world.service()["spec"] == before["spec"]
    assert world.state() == FAILED


@pytest.mark.slow
def test_killed_between_two_steps_the_next_run_goes_on_with_the_next_one(world):
    def stop(number, call):
        if call.verb == "patch" and short(call) == "canary 50":
            wait_until(lambda: run)
            os.kill(run[0].pid, signal.SIGKILL)

    run = []
    world.server.on_call = stop
    run.append(world.deploy_elsewhere())
    run[0].join(60)
    world.server.on_call = lambda number, call: None
    world.server.calls.clear()
    world.deploy(lease_seconds=0.3)
    assert written(world) == STEPS[3:]
    assert world.state() == DONE


def test_the_requests_come_back_where_nothing_can_be_read(world):
    def fail():
        world.server.faults = [Fault("get", "inferenceservices", times=-1)]

    with pytest.raises(UserError, match="is left reverting"):
        world.deploy(report=At("gets 50 %", fail))
    assert written(world)[:4] == ["canary 0", "canary 10", "canary 50", "canary 0"]
    wait_until(lambda: world.versions_serving() == {1: 100})
    world.server.faults = []
    world.deploy(lease_seconds=0.3)
    assert world.state() == DONE
