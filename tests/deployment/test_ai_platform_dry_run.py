"""What a dry run of a rollout to AI Platform says, and that the rollout does just that."""

from dataclasses import replace

import pytest

from kfp_bert_components.ai_platform import deploy_to_ai_platform
from kfp_bert_components.deployment import LeaseLostError
from tests.support.ai_platform_server import AiPlatformServer
from tests.support.rollouts import QUICK, World
from tests.support.stores import gcs

__all__ = ["gcs"]


@pytest.fixture
def world(gcs):
    with AiPlatformServer() as server:
        yield World("gs://bucket/registry", server)


def plan(world, **changes):
    """What a dry run says, without what it says in each case."""
    lines = []
    settings = replace(QUICK, **changes)
    deploy_to_ai_platform(
        world.registry.uri, settings, api_endpoint=world.server.url, dry_run=True, report=lines.append
    )
    return [line for line in lines if "use endpoint" not in line and "test it" not in line]


def test_a_dry_run_knows_what_was_kept_warm(world):
    deployed = []
    for _ in range(2):
        world.promote()
        deployed.append(world.deploy(keep_warm=True)["facts"]["deployed"])
    first, second = deployed
    world.promote()
    assert plan(world, keep_warm=True)[-2:] == [f"would keep {second}", f"would undeploy {first}"]
    third = world.deploy(keep_warm=True)["facts"]["deployed"]
    assert {one.id for one in world.endpoint.deployed_models} == {second, third}
    world.registry.rollback()
    assert plan(world, keep_warm=True)[1:] == [
        f"would use deployed model {second}, which is there already",
        f"would set the traffic to {{'{third}': 80, '{second}': 20}}",
        f"would set the traffic to {{'{third}': 50, '{second}': 50}}",
        f"would set the traffic to {{'{second}': 100}}",
        f"would keep {third}",
    ]
    assert world.deploy(keep_warm=True)["facts"]["deployed"] == second
    assert {one.id for one in world.endpoint.deployed_models} == {second, third}


def test_a_dry_run_names_the_shares_that_come_after_the_canary(world):
    world.promote()
    first = world.deploy()["facts"]["deployed"]
    world.promote()
    given = {"canary_percent": 60, "traffic_steps": (50, 100)}
    said = [line for line in plan(world, **given) if "traffic" in line]
    assert said == [f"would set the traffic to {{'{first}': 40, 'new': 60}}", "would set the traffic to {'new': 100}"]
    second = world.deploy(**given)["facts"]["deployed"]
    assert world.server.cloud.splits[world.endpoint.name] == [{first: 100}, {first: 40, second: 60}, {second: 100}]


def test_a_dry_run_says_whether_a_rollout_that_stopped_is_taken_back(world):
    def stop(line):
        if "gets 50 %" in line:
            raise LeaseLostError("stopped")

    world.promote()
    first = world.deploy(keep_warm=True)["facts"]["deployed"]
    world.promote()
    with pytest.raises(LeaseLostError):
        world.deploy(report=stop, keep_warm=True)
    said = plan(world, keep_warm=True)
    assert said[0] == "would go on with the rollout of version 2, which is shifting"
    assert said[-1] == f"would keep {first}"
    world.registry.rollback()
    assert plan(world)[0] == "would take back version 2, which is shifting"
    world.deploy()
    assert world.versions_serving() == {1: 100}
