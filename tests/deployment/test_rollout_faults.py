"""Rollouts whose registry fails, whose endpoint others change, and that are cancelled."""

import os
import signal
import time

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry
from tests.support.ai_platform_server import Fault

ALL = os.environ.get("KFP_BERT_ROUNDS") == "all"
WRITES = 12  # times that one rollout writes its record, renewals not counted


@pytest.mark.long
@pytest.mark.parametrize("position", range(1, WRITES + 1, 1 if ALL else 3))
@pytest.mark.parametrize("times", [1, 1000], ids=["once", "always"])
@pytest.mark.parametrize("effect", ["before", "after"])
def test_a_registry_that_fails_leaves_traffic_wholly_at_old_or_new(world, monkeypatch, position, times, effect):
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
    assert world.state()["serving"] == {2: 100}
    assert world.state()["deployed"] == 1
    assert world.state()["record"] == ("live", 2)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("position", range(1, WRITES + 1, 1 if ALL else 4))
@pytest.mark.long
def test_killed_at_a_write_of_its_record_the_next_run_ends_the_same(world, position, moment):
    run = world.deploy_elsewhere(lease_seconds=10, kill_at=(moment, position))  # long enough to renew nothing
    run.join(60)
    assert run.exitcode == -signal.SIGKILL
    world.deploy(lease_seconds=0.3)
    assert world.state() == {
        "serving": {2: 100},
        "deployed": 1,
        "models": ["kfp-bert version 1", "kfp-bert version 2"],
        "champion": ["kfp-bert version 2"],
        "record": ("live", 2),
    }


def test_somebody_who_changes_the_endpoint_meanwhile_is_not_overwritten(world):
    changed = []

    def change(number, method):
        if method == "GetEndpoint" and len(changed) < 3:
            changed.append(number)
            world.endpoint.labels["touched"] = str(number)
            world.endpoint.etag = f"by somebody {number}"

    world.server.on_call = change
    world.deploy()
    assert world.state()["serving"] == {2: 100}
    assert world.endpoint.labels["touched"] == str(changed[-1])


@pytest.mark.parametrize("method", ["UploadModel", "DeployModel", "Predict"])
def test_a_cancelled_run_leaves_traffic_as_it_was(world, method):
    world.server.latency = dict.fromkeys(world.endpoint.traffic_split, 0.05)
    run = world.deploy_elsewhere()
    while method not in world.server.calls:
        time.sleep(0.002)
    os.kill(run.pid, signal.SIGTERM)
    run.join(60)
    assert run.exitcode == 143
    assert world.state()["serving"] == {1: 100}
    assert world.state()["deployed"] == 1
    record = world.registry.deployment("production")
    assert (record.state, record.reason) == ("failed", "the run was cancelled")


def test_another_champion_meanwhile_is_what_serves_in_the_end(world):
    promoted = []

    def promote(number, method):
        if method == "DeployModel" and not promoted:
            promoted.append(world.promote())

    world.server.on_call = promote
    assert world.deploy()["version"] == 3
    assert world.state()["serving"] == {3: 100}
    assert world.state()["deployed"] == 1


def test_what_a_killed_run_left_of_an_older_version_is_reverted_first(world):
    run = world.deploy_elsewhere()
    while "Predict" not in world.server.calls:
        time.sleep(0.002)
    os.kill(run.pid, signal.SIGKILL)
    run.join()
    world.promote()
    world.deploy(lease_seconds=0.3)
    assert world.state()["serving"] == {3: 100}
    assert world.state()["deployed"] == 1


def test_a_run_that_stops_before_the_end_does_not_keep_the_next_one_waiting(world):
    world.server.faults = [Fault("UndeployModel", times=-1)]
    with pytest.raises(UserError, match="left finishing .*: run again to go on"):
        world.deploy(lease_seconds=600)
    assert world.state()["serving"] == {2: 100}
    world.server.faults = []
    lines = []
    world.deploy(lease_seconds=600, report=lines.append)
    assert lines[0] == "another run stopped rolling out version 2 (finishing): going on in its place"
    assert world.state()["deployed"] == 1
    assert world.state()["record"] == ("live", 2)


class Killed(BaseException):
    """Ends a run at a line, as SIGKILL does: in *finishing* nothing is taken back."""


def test_what_was_left_finishing_is_finished_as_it_was_whatever_the_settings_are_now(world):
    def stop(line):
        if world.registry.deployment("production").details.get("step") == "finishing":
            raise Killed

    with pytest.raises(Killed):
        world.deploy(report=stop)
    lines = []
    live = world.deploy(report=lines.append, machine_type="n1-standard-8")
    assert (live["version"], world.registry.deployment("production").state) == (2, "live")
    assert lines.index("version 2: live") < lines.index("version 2 serves with other settings: rolling it out again")
    assert not any("failed" in line for line in lines)
