"""A rollout to AI Platform that has to go back, or to be finished, ends whatever others did meanwhile."""

import pytest
from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.deployment import RolloutError
from kfp_bert_components.errors import UserError
from tests.support.ai_platform_operations import RefusalError
from tests.support.places import MODEL
from tests.support.rollouts import ENDPOINT, World


def leave(world, words, **given):
    """Let a run end where it says `words`; the ids of the deployed models, the version's last."""
    world.leave(words, **given)
    return deployed(world)


def others_get(world, share, number):
    """Somebody deploys a model of theirs, and gives it a share of the traffic; our model `number` has the rest."""
    endpoint = world.endpoint
    endpoint.deployed_models.append(v1.DeployedModel(id="77", model=MODEL, model_version_id="1", display_name="theirs"))
    world.server.cloud.split_traffic(endpoint, {number: 100 - share, "77": share})


def deployed(world):
    return [one.id for one in world.endpoint.deployed_models] if world.endpoint else []


def recorded(world):
    record = world.registry.deployment("production")
    return record.state, record.version


def undeploy(world, number):
    world.endpoint.deployed_models = [one for one in world.endpoint.deployed_models if one.id != number]


def test_others_that_took_all_traffic_do_not_block_the_way_back(world):
    first, second = leave(world, "gets 50 %")
    others_get(world, 100, second)
    world.registry.rollback()
    with pytest.raises(RolloutError, match=r"get 100 % of the traffic \(77\)"):
        world.deploy()
    assert deployed(world) == [first, "77"] and dict(world.endpoint.traffic_split) == {"77": 100}
    assert recorded(world) == ("failed", 2)


def test_a_rollout_that_others_leave_no_traffic_is_taken_back(world):
    first, second = leave(world, "gets 50 %")
    others_get(world, 100, second)
    with pytest.raises(RolloutError, match="Version 2 was not rolled out: models that are not this deployment's"):
        world.deploy()
    assert deployed(world) == [first, "77"]


def test_others_that_leave_too_little_for_all_of_ours_leave_it_to_the_largest(world, capsys):
    first, second = leave(world, "version 2: finishing")
    world.deploy(keep_warm=True)
    world.server.cloud.split_traffic(world.endpoint, {first: 30, second: 70})
    world.promote()
    third = leave(world, "version 3: testing", keep_warm=True)[-1]
    others_get(world, 99, third)
    world.registry.rollback()
    world.deploy()
    assert dict(world.endpoint.traffic_split) == {second: 1, "77": 99}
    assert third not in deployed(world) and recorded(world) == ("live", 2)
    assert f"leaves none for {first}, which had some before" in capsys.readouterr().out


def test_a_parent_model_of_others_does_not_block_the_way_back(world):
    other = World("gs://bucket/other", world.server)
    other.promote()
    other.deploy(endpoint="theirs", model_id="theirs")
    first, _ = leave(world, "gets 50 %")
    world.registry.rollback()
    with pytest.raises(RolloutError, match="models/theirs belongs to"):
        world.deploy(model_id="theirs")
    assert dict(world.endpoint.traffic_split) == {first: 100} and deployed(world) == [first]
    assert world.state()["record"] == ("failed", 2)


@pytest.mark.parametrize("rolled_back", [False, True])
def test_an_endpoint_that_was_deleted_does_not_block_the_next_rollout(world, rolled_back):
    leave(world, "gets 50 %")
    del world.server.cloud.endpoints[ENDPOINT]
    if rolled_back:
        world.registry.rollback()
    else:
        with pytest.raises(RolloutError, match=f"the endpoint {ENDPOINT} was deleted meanwhile, so there was nothing"):
            world.deploy()
    world.deploy()
    assert world.state()["serving"] == {1 if rolled_back else 2: 100}


def test_an_endpoint_by_a_number_that_was_deleted_is_said_after_the_rollout_has_ended(world):
    name = ENDPOINT.replace("kfp-bert-production", "77")
    world.server.cloud.endpoints = {name: v1.Endpoint(name=name, display_name="x", etag="x")}
    leave(world, "version 2: testing", endpoint="77")
    del world.server.cloud.endpoints[name]
    world.registry.rollback()
    with pytest.raises(UserError, match="There is no endpoint 77"):
        world.deploy(endpoint="77")
    record = world.registry.deployment("production")
    assert (record.state, record.version) == ("failed", 2)
    assert "the endpoint" in record.reason and "was deleted meanwhile" in record.reason


def test_where_what_served_before_was_undeployed_the_traffic_stays_and_the_next_version_is_rolled_out(world):
    first, second = leave(world, "gets 50 %")
    undeploy(world, first)
    world.server.cloud.split_traffic(world.endpoint, {second: 100})
    world.registry.rollback()
    lines = []
    world.deploy(report=lines.append)
    kept = f"version 2: no model that served {ENDPOINT} before is deployed any more, so the traffic stays as it is"
    assert kept in lines
    assert world.state()["serving"] == {1: 100} and second not in deployed(world)


def test_the_record_names_a_version_that_could_not_be_taken_back_and_gc_keeps_it(world):
    first, second = leave(world, "version 2: testing")
    undeploy(world, first)
    world.server.cloud.split_traffic(world.endpoint, {second: 100})
    world.wrong = {2}
    with pytest.raises(RolloutError, match="so the traffic stays as it is"):
        world.deploy()
    live = world.registry.deployment("production").details["live"]
    assert (live["version"], live["facts"]["deployed"]) == (2, second)
    for _ in range(3):
        world.promote()
    assert list(world.registry.gc(keep=1).remove) == [1, 3]


def test_an_operation_that_cannot_be_cancelled_does_not_block_the_way_back(world, monkeypatch):
    first, _ = leave(world, "gets 50 %")
    cloud = world.server.cloud

    def cancel_operation(request):
        raise RefusalError(400, "FAILED_PRECONDITION", "it cannot be cancelled")

    monkeypatch.setattr(cloud, "cancel_operation", cancel_operation)
    theirs = v1.DeployedModel(v1.DeployedModel.pb(world.endpoint.deployed_models[0]), id="77")
    request = v1.DeployModelRequest.pb(v1.DeployModelRequest(endpoint=ENDPOINT, deployed_model=theirs))

    def deploy_theirs(number, method):
        if method == "UpdateEndpoint" and "77" not in deployed(world):
            cloud.operation_seconds = 1.0
            cloud.call("DeployModel", request)
            cloud.operation_seconds = 0.02

    monkeypatch.setattr(world.server, "on_call", deploy_theirs)
    world.registry.rollback()
    world.deploy()
    assert world.state()["serving"] == {1: 100} and deployed(world) == [first, "77"]


# A rollout that is only to be finished


def test_an_endpoint_that_was_deleted_does_not_block_a_rollout_that_is_finished(world):
    leave(world, "version 2: finishing")
    del world.server.cloud.endpoints[ENDPOINT]
    with pytest.raises(RolloutError, match="somebody else changed the place"):
        world.deploy()
    world.deploy()
    assert world.state()["serving"] == {2: 100}


def test_a_model_that_others_gave_the_traffic_back_is_not_undeployed(world):
    first, second = leave(world, "version 2: finishing")
    world.server.cloud.split_traffic(world.endpoint, {first: 100})
    with pytest.raises(RolloutError, match="somebody else changed the place"):
        world.deploy()
    assert dict(world.endpoint.traffic_split) == {first: 100} and deployed(world) == [first, second]
    world.deploy()
    assert world.state()["serving"] == {2: 100} and world.state()["deployed"] == 1


def test_a_parent_model_that_others_took_over_keeps_its_alias_and_the_rollout_is_finished(world, capsys):
    _, second = leave(world, "version 2: finishing")
    for upload in world.server.cloud.models[MODEL]:
        upload.labels["kfp-bert-registry"] = "theirs"
    assert world.deploy()["facts"]["deployed"] == second
    assert world.state()["champion"] == ["kfp-bert version 1"] and deployed(world) == [second]
    assert f"The alias champion is not moved to {MODEL}@2: The model {MODEL} belongs to" in capsys.readouterr().out


def test_a_second_upload_that_others_have_deployed_is_left(world, capsys):
    leave(world, "version 2: finishing")
    cloud = world.server.cloud
    upload = cloud.models[MODEL][1]
    cloud.models[MODEL].append(v1.Model(v1.Model.wrap(v1.Model.pb(upload)), version_id="3", version_aliases=[]))
    theirs = v1.Endpoint(name=ENDPOINT.replace("kfp-bert-production", "theirs"), display_name="theirs", etag="x")
    theirs.deployed_models.append(v1.DeployedModel(id="77", model=MODEL, model_version_id="3"))
    cloud.endpoints[theirs.name] = theirs
    world.deploy()
    assert world.state()["record"] == ("live", 2) and world.state()["deployed"] == 1
    assert f"{MODEL}@3, a second upload of version 2, is left: AI Platform refused" in capsys.readouterr().out
