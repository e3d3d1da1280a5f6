"""The operations under way on an endpoint: those of others are waited for, and only ours are cancelled."""

import math
from contextlib import nullcontext
from functools import partial

import pytest
from google.cloud import aiplatform_v1 as v1
from google.longrunning import operations_pb2
from google.rpc import status_pb2

from kfp_bert_components.deployment import RolloutError
from tests.support.ai_platform_server import Fault
from tests.support.places import MODEL, world
from tests.support.stores import gcs

__all__ = ["gcs", "world"]


@pytest.mark.parametrize("good", [True, False], ids=["good", "wrong"])
@pytest.mark.parametrize("fails", [True, False])
def test_operations_of_others_are_not_cancelled_and_their_failures_are_not_ours(world, monkeypatch, fails, good):
    world.deploy()
    cloud, before = world.server.cloud, world.registry.require_champion().version
    request = v1.DeployModelRequest(
        endpoint=world.endpoint.name,
        deployed_model=v1.DeployedModel(id="77", model=MODEL, dedicated_resources=v1.DedicatedResources()),
    )
    cloud.outcomes = {"DeployModel": "hang"}
    theirs = cloud.operations[cloud.call("DeployModel", v1.DeployModelRequest.pb(request)).name]
    cloud.outcomes = {}
    if fails:
        monkeypatch.setattr(cloud, "get_operation", partial(fail_when_looked_at, theirs, cloud.get_operation))
    after = world.promote()
    world.wrong = set() if good else {after}
    with nullcontext() if good else pytest.raises(RolloutError, match="its answer to"):
        world.deploy(operation_seconds=0.5)
    assert world.versions_serving() == {after if good else before: 100}
    assert (theirs.done is not None) == fails


def test_our_operation_is_cancelled_also_where_its_answer_was_lost(world):
    world.deploy()
    world.promote()
    world.server.cloud.outcomes = {"DeployModel": "hang"}
    world.server.faults = [Fault("DeployModel", "drop", 1)]
    world.server.calls.clear()
    with pytest.raises(RolloutError, match=r"deploying version 2 did not end within 0\.5 s"):
        world.deploy(operation_seconds=0.5)
    assert (world.server.calls.count("DeployModel"), world.server.calls.count("CancelOperation")) == (1, 1)
    assert all(one.done for one in world.server.cloud.operations.values())


def test_a_model_that_comes_after_it_was_given_up_is_removed_by_the_next_rollout(world):
    world.deploy()
    world.promote()
    world.server.cloud.outcomes = {"DeployModel": "late"}
    with pytest.raises(RolloutError, match="did not end"):
        world.deploy(operation_seconds=0.2)
    (late,) = [one for one in world.server.cloud.operations.values() if not one.done]
    world.server.cloud.outcomes, late.due = {}, math.inf
    world.promote()
    world.deploy(operation_seconds=0.2)
    late.due = 0
    world.promote()
    world.deploy()
    assert world.versions_serving() == {4: 100} and len(world.endpoint.deployed_models) == 1


def fail_when_looked_at(operation, look, request):
    if request.name == operation.name:
        error = status_pb2.Status(code=13, message="no machines")
        operation.done = operations_pb2.Operation(name=operation.name, done=True, error=error)
    return look(request)
