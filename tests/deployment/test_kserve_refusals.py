"""What a rollout to KServe refuses before anything is written: settings, modes, an API that can't be asked."""

from dataclasses import replace

import pytest

from kfp_bert_components.deployment import LeaseLostError, RolloutError
from kfp_bert_components.errors import UserError
from kfp_bert_components.kserve import KServeSettings, deploy_to_kserve
from kfp_bert_components.registry import Registry
from tests.support.kserve_canaries import At
from tests.support.kserve_rollouts import EVERY, MODES, NAME, NAMESPACE, QUICK, SERVICES, STANDARD, change
from tests.support.kserve_worlds import empty, world
from tests.support.kubernetes_server import Fault

__all__ = ["empty", "world"]


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


def test_a_stopped_one_is_refused(world):
    annotations = {**world.service()["metadata"]["annotations"], "serving.kserve.io/stop": "true"}
    change(world, NAME, metadata={"annotations": annotations})
    with pytest.raises(RolloutError, match="is stopped by its annotation"):
        world.deploy()
    assert world.changes() == []


def test_one_whose_deployment_has_another_name_is_refused(world):
    world.server.cluster.store.change(
        SERVICES, NAMESPACE, NAME, lambda one: one["spec"]["predictor"].update(name="v2") or one
    )
    with pytest.raises(RolloutError, match=f"{NAME} has predictor.name: v2, .*: give another name, or remove the fiel"):
        world.deploy()
    assert world.changes() == []


def test_one_in_a_mode_that_is_not_known_is_refused(world):
    status = {**world.service()["status"], "deploymentMode": "ModelMesh"}
    world.server.cluster.controller = False
    world.server.cluster.store.set_status(SERVICES, NAMESPACE, NAME, status)
    with pytest.raises(RolloutError, match=f"{NAME} is in KServe's mode ModelMesh: .* Standard and Knative"):
        world.deploy()
    assert world.changes() == []


def test_annotations_that_ask_for_another_mode_are_refused(world, mode):
    of_kserve, other = ("Knative", "RawDeployment") if mode == "Knative" else ("Standard", "Serverless")
    with pytest.raises(RolloutError, match=f"{NAME} is in KServe's mode {of_kserve}, and annotations ask for "):
        world.deploy(annotations={"serving.kserve.io/deploymentMode": other})
    assert world.changes() == []


@STANDARD
def test_steps_of_the_traffic_are_refused_where_there_are_none(empty):
    for given in ({"traffic_steps": (50, 100)}, {"step_seconds": 1.0}):
        with pytest.raises(RolloutError, match="traffic_steps and step_seconds are for KServe's mode Knative"):
            empty.deploy(**given)
    assert empty.changes() == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "9films"}, "with a letter first"),
        ({"name": "f" * 41}, "41 letters: KServe serves up to 40 in the namespace default"),
        ({"name": "f" * 44, "namespace": "ml"}, "44 letters: KServe serves up to 43 in the namespace ml"),
        ({"name": "Films"}, "expected lower-case letters"),
        ({"max_replicas": 0}, "expected min_replicas"),
        *(({name: 10**12}, f"{name} is 1000000000000, but") for name in ("min_replicas", "max_replicas")),
        ({"accelerator": "nvidia.com/gpu", "accelerator_count": 2**31}, "accelerator_count is 2147483648, but"),
        ({"cpu": "lots"}, "expected a quantity"),
        ({"accelerator": "nvidia.com/gpu"}, "belong together"),
        ({"image": "a", "runtime": "b"}, "both given"),
        ({"annotations": {"serving.kserve.io/stop": "true"}}, "ends all pods"),
        ({"traffic_steps": (50, 10)}, "ascend to 100"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, says):
    with pytest.raises(UserError, match=says):
        KServeSettings(**{"name": NAME, "namespace": NAMESPACE, **changes})


@STANDARD
@pytest.mark.parametrize("default", ["Standard", "Knative"])
def test_a_dry_run_refuses_what_the_run_refuses_in_the_mode_of_the_cluster(empty, default):
    """Nobody asks for a mode: which one it is only a dry run of the API says."""
    empty.server.cluster.default_mode = default
    given = {"Standard": {"traffic_steps": (50, 100)}, "Knative": {}}[default]
    settings = KServeSettings(NAME, NAMESPACE, cpu="100m", ready_seconds=10, **given)
    with pytest.raises(RolloutError) as refused:
        deploy_to_kserve(empty.registry.uri, settings, api_endpoint=empty.server.url, dry_run=True)
    assert empty.changes() == []
    with pytest.raises(RolloutError) as failed:
        empty.deploy(**given)
    assert str(failed.value) == f"Version 1 was not rolled out: {refused.value}"


def stopped_at(world, words):
    """The rollout of the second version is stopped at a line of its report."""

    def stop():
        raise LeaseLostError("stopped")

    with pytest.raises(LeaseLostError):
        world.deploy(report=At(words, stop))
    world.server.calls.clear()


def planned(world, **changes):
    """What a dry run says, which has changed nothing."""
    lines, settings = [], replace(QUICK, **changes)
    url = world.server.url
    deploy_to_kserve(world.registry.uri, settings, api_endpoint=url, dry_run=True, report=lines.append)
    assert world.changes() == []
    return lines


@pytest.mark.parametrize("mode", EVERY)
@pytest.mark.parametrize("champion", [1, 2])
@pytest.mark.parametrize("words", ["asking it for texts", "changing the Inf", "removing what only"])
def test_a_dry_run_refuses_what_the_run_refuses_once_another_rollout_has_ended(world, words, champion):
    stopped_at(world, words)
    if champion == 1:
        world.registry.rollback()
    with pytest.raises(RolloutError) as refused:
        planned(world, service_account="nobody")
    with pytest.raises(RolloutError) as failed:
        world.deploy(service_account="nobody")
    assert str(failed.value) == str(refused.value)
    assert "There is no service account nobody in the namespace" in str(refused.value)


@pytest.mark.parametrize("mode", EVERY)
def test_a_dry_run_says_what_comes_after_the_rollout_under_way(world):
    stopped_at(world, "asking it for texts")
    world.registry.rollback()
    first, then, *lines = planned(world)
    assert first == "would take back version 2, which is testing" and "would test version 1 in " in then
    assert lines == ["nothing: the InferenceService is already as it should be"]
    world.deploy()
    world.promote()
    stopped_at(world, "changing the Inf")
    first, then, *lines = planned(world)
    assert first == "would go on with the rollout of version 3, which is shifting"
    assert then == "would give version 3 all requests, and so change this:"
    assert any("versions/3/bundle" in line for line in lines) == (world.mode != "Knative")


@pytest.mark.parametrize("mode", EVERY)
def test_a_dry_run_of_a_rollout_that_only_has_to_be_finished_says_no_more(world):
    stopped_at(world, "removing what only")
    (line,) = planned(world)
    assert line == "would go on with the rollout of version 2, which is finishing"
    world.registry.rollback()
    first, then, *lines = planned(world)
    assert first == line and "would test version 1 in " in then
    shown = [one.replace(" ", "") for one in lines if one.startswith(("+", "-"))]
    assert "+value:gs://bucket/registry/versions/1/bundle" in shown
    assert not any("canary" in one for one in shown)


def test_an_api_that_never_answers_changes_nothing(world):
    world.server.faults = [Fault(times=-1)]
    settings = KServeSettings(NAME, NAMESPACE)
    with pytest.raises(UserError, match="Kubernetes can't be reached"):
        deploy_to_kserve("gs://bucket/registry", settings, api_endpoint=world.server.url, pause_seconds=0.01)
    assert world.changes() == []


def test_plain_http_is_for_this_machine_only(gcs):
    Registry("gs://bucket/registry")
    with pytest.raises(UserError, match="plain http and not on this machine"):
        deploy_to_kserve(
            "gs://bucket/registry", KServeSettings(NAME, NAMESPACE), api_endpoint="http://kubernetes.example.com"
        )
