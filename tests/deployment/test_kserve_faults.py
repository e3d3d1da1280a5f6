"""Rollouts to KServe whose registry fails or hangs, that are cancelled, overtaken, or can't be completed."""

import os
import signal
import time

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry
from tests.support.directories import BlockedRegistry, start_thread
from tests.support.kserve_rollouts import EVERY, MODES, NAME, STANDARD, deploy_to
from tests.support.kserve_worlds import empty, world
from tests.support.kubernetes_server import Fault

__all__ = ["empty", "world"]

ALL = os.environ.get("KFP_BERT_ROUNDS") == "all"
WRITES = range(1, 13) if ALL else (3, 8)  # of its record by one rollout, renewals not counted
DONE = {"serving": {2: 100}, "services": [NAME], "record": ("live", 2)}


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.mark.long
@pytest.mark.parametrize("position", WRITES)
@pytest.mark.parametrize("times", [1, 1000], ids=["once", "always"])
@pytest.mark.parametrize("effect", ["before", "after"])
def test_a_registry_that_fails_leaves_old_or_new_serving(world, monkeypatch, position, times, effect):
    real, calls = Registry.record_deployment, []

    def failing(self, *arguments, **options):
        calls.append(1)
        strikes = position <= len(calls) < position + times
        if not strikes or effect == "after":
            record = real(self, *arguments, **options)
        if strikes:
            raise UserError("the storage is down")
        return record

    monkeypatch.setattr(Registry, "record_deployment", failing)
    try:
        world.deploy()
    except UserError as error:
        assert "storage is down" in str(error) or "cannot be written" in str(error)
    assert world.versions_serving() in ({1: 100}, {2: 100})
    monkeypatch.setattr(Registry, "record_deployment", real)
    world.deploy(lease_seconds=0.3)
    assert world.state() == DONE


@pytest.mark.slow
@pytest.mark.parametrize("late", ["goes on before", "goes on after"])
@pytest.mark.parametrize("position", WRITES)
def test_a_holder_whose_registry_hangs_does_not_touch_what_the_next_one_made(world, position, late):
    blocked = BlockedRegistry(world.registry.uri, position, "before")
    thread, errors = start_thread(lambda: deploy_to(blocked, world.server.url, lease_seconds=1.0))
    if not blocked.blocked.wait(10):
        thread.join()
        pytest.skip(f"a rollout has fewer than {position} writes")
    if late == "goes on before":
        time.sleep(1.2)
        blocked.go_on.set()
    world.deploy(lease_seconds=1.0)
    blocked.go_on.set()
    thread.join(30)
    assert not thread.is_alive()
    assert all(isinstance(error, UserError) for error in errors), errors
    assert world.state() == DONE


def test_a_cancelled_run_leaves_the_old_version_serving(world):
    world.broken = {2: "version 1 cannot be served: no graph"}  # so that it waits
    run = world.deploy_elsewhere(lease_seconds=5)
    while not any(call.name == world.first and call.verb == "patch" for call in world.server.calls):
        time.sleep(0.002)
    os.kill(run.pid, signal.SIGTERM)
    run.join(60)
    assert run.exitcode == 143
    record = world.registry.deployment("production")
    assert (record.state, record.reason) == ("failed", "the run was cancelled")
    assert world.state()["serving"] == {1: 100} and world.state()["services"] == [NAME]


def test_another_champion_meanwhile_is_what_serves_in_the_end(world):
    promoted = []

    def promote(number, call):
        if (call.verb, call.name) == ("patch", world.first) and not promoted:
            promoted.append(world.promote())

    world.server.on_call = promote
    assert world.deploy()["version"] == 3
    assert world.state() == {"serving": {3: 100}, "services": [NAME], "record": ("live", 3)}


def test_what_a_killed_run_left_of_an_older_version_is_reverted_first(world):
    run = world.deploy_elsewhere()
    while not any(call.name == NAME and call.verb == "patch" for call in world.server.calls):
        time.sleep(0.002)
    os.kill(run.pid, signal.SIGKILL)
    run.join()
    world.promote()
    lines = []
    world.deploy(lease_seconds=0.3, report=lines.append)
    assert any("reverting" in line or "what it was before" in line for line in lines)
    assert world.state() == {"serving": {3: 100}, "services": [NAME], "record": ("live", 3)}


@STANDARD
def test_a_run_that_cannot_remove_the_second_service_is_completed_by_the_next(world):
    world.server.faults = [Fault("delete", "inferenceservices", times=-1)]
    with pytest.raises(UserError, match="left finishing .*: run again to go on"):
        world.deploy(lease_seconds=600)
    assert world.state()["serving"] == {2: 100}
    world.server.faults = []
    world.deploy(lease_seconds=600)
    assert world.state() == DONE


class Killed(BaseException):
    """Ends a run at a line, as SIGKILL does: in *finishing* nothing is taken back."""


def stop_in_finishing(line):
    if "removing what only" in line:
        raise Killed


@pytest.mark.parametrize("mode", EVERY)
@pytest.mark.parametrize("how", ["settings", "package"])
def test_what_was_left_finishing_is_finished_as_it_was_whatever_the_settings_are_now(world, monkeypatch, how):
    with pytest.raises(Killed):
        world.deploy(report=stop_in_finishing)
    assert world.registry.deployment("production").details["step"] == "finishing"
    if how == "package":
        for module in ("settings", "objects"):
            monkeypatch.setattr(f"kfp_bert_components.kserve.{module}.IMAGE", "kfp-bert-components/serve:9.9.9")
    given, lines = {"image": "reg/serve:2"} if how == "settings" else {}, []
    world.deploy(report=lines.append, **given)
    assert lines[1:4] == [
        "version 2: removing what only the rollout needed",
        "version 2: live",
        "version 2 serves with other settings: rolling it out again",
    ]
    assert world.state() == DONE
    image = world.service()["spec"]["predictor"]["containers"][0]["image"]
    assert image == given.get("image", "kfp-bert-components/serve:9.9.9")


def test_a_refusal_of_other_settings_does_not_say_that_what_serves_is_lost(world):
    world.deploy()
    with pytest.raises(UserError, match="There is no service account nobody"):
        world.deploy(service_account="nobody")
    assert world.registry.deployment("production").live_version == 2
    assert world.state() == DONE
