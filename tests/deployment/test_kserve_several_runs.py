"""A rollout that several runs with different settings go on with, some of which are killed around their write."""

import pytest

from kfp_bert_components.deployment import LeaseLostError, RolloutError
from tests.support.kserve_rollouts import EVERY, NAME, NAMESPACE, container
from tests.support.kserve_shares import DONE, FAILED
from tests.support.kserve_worlds import empty, world
from tests.support.kubernetes_resources import by_kind
from tests.support.kubernetes_server import Fault

__all__ = ["empty", "world"]

APPLY = "kfp_bert_components.kserve.services.Services.apply"
# The lines after which the first run has written the version into NAME.
WRITTEN = {"Standard": (2, "asked at"), "Gateway": (2, "asked at"), "Knative": (1, "gets 50 %")}


@pytest.fixture(params=EVERY)
def mode(request):
    return request.param


def killed(*arguments, **options):
    """In place of a write, or of a report: the run ends there, as one that is killed."""
    raise LeaseLostError("killed")


def kill_when_written(world, **given):
    """Roll out, and be killed after the version was written into the InferenceService."""
    left, text = WRITTEN[world.mode]

    def report(line):
        nonlocal left
        left -= text in line
        if not left:
            killed()

    with pytest.raises(LeaseLostError):
        world.deploy(report=report, **given)


@pytest.fixture
def older(request, world):
    """Whether the record is made one of an older version of this package, which noted the newest write only."""

    def rewrite():
        record = world.registry.deployment("production")
        facts = record.details["facts"]
        world.registry.record_deployment(
            "production",
            if_generation=record.generation,
            state=record.state,
            version=record.version,
            details={**record.details, "facts": {**facts, "wrote": facts["wrote"][-1]}},
            place=record.place,
            served="",
        )

    return rewrite if request.param else lambda: None


@pytest.mark.parametrize("older", [False, True], ids=["", "older record"], indirect=True)
def test_a_write_that_is_refused_does_not_hide_what_the_run_before_wrote(world, older):
    before = world.service()["spec"]
    kill_when_written(world)
    older()
    world.server.faults = [Fault("patch", "inferenceservices", times=1, status=422)]
    with pytest.raises(RolloutError):
        world.deploy(cpu="200m", memory="3Gi")
    assert world.service()["spec"] == before
    assert world.state() == FAILED and world.registry.deployment("production").live_version == 1


def test_writes_that_are_never_made_do_not_hide_the_first_one(world, monkeypatch):
    kill_when_written(world)
    for cpu in ("200m", "300m", "400m"):
        with monkeypatch.context() as patch:
            patch.setattr(APPLY, killed)
            with pytest.raises(LeaseLostError):
                world.deploy(cpu=cpu)
        assert world.registry.deployment("production").details["step"] == "shifting"
    world.deploy(cpu="500m")
    assert world.state() == DONE and container(world.service())["resources"]["limits"]["cpu"] == "500m"


def test_writes_of_the_first_place_that_are_never_made_do_not_hide_what_is_there(world, monkeypatch):
    """The second InferenceService, or the canary, or the revision without requests."""

    def stop(line):
        if "asking it for texts" in line:
            killed()

    with pytest.raises(LeaseLostError):
        world.deploy(report=stop)
    for cpu in ("200m", "300m", "400m"):
        with monkeypatch.context() as patch:
            patch.setattr(APPLY, killed)
            with pytest.raises(LeaseLostError):
                world.deploy(cpu=cpu)
    world.deploy(cpu="500m")
    assert world.state() == DONE and container(world.service())["resources"]["limits"]["cpu"] == "500m"


def leave_half_done(world, **given):
    """Let a run be killed when a version has a share of the requests, or is written, and go back to the one before."""
    kill_when_written(world, **given)
    world.registry.rollback()


def test_a_service_account_that_is_gone_does_not_block_the_way_back(world):
    world.server.cluster.add("ServiceAccount", "models")
    world.deploy(service_account="models")
    world.promote()
    leave_half_done(world, service_account="models")
    world.server.cluster.store.delete(by_kind("ServiceAccount"), NAMESPACE, "models")
    with pytest.raises(RolloutError, match="There is no service account models"):
        world.deploy(service_account="models")
    assert world.state() == {"serving": {2: 100}, "services": [NAME], "record": ("failed", 3)}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"runtime": "kfp-bert"}, "There is no ServingRuntime kfp-bert"),
        ({"annotations": {"serving.kserve.io/deploymentMode": "ModelMesh"}}, "annotations ask for ModelMesh"),
    ],
    ids=["runtime", "mode"],
)
def test_settings_that_do_not_fit_do_not_block_the_way_back(world, given, told):
    leave_half_done(world)
    with pytest.raises(RolloutError, match=told):
        world.deploy(**given)
    assert world.state() == FAILED


def test_a_version_that_goes_on_is_still_refused_where_its_account_is_gone(world):
    kill_when_written(world)
    world.server.calls.clear()
    with pytest.raises(RolloutError, match="There is no service account nobody"):
        world.deploy(service_account="nobody")
    assert world.changes() == [] and world.registry.deployment("production").details["step"] == "shifting"


def test_what_is_only_to_be_finished_is_finished_without_the_account(world):
    class Killed(BaseException):
        pass

    def report(line):
        if "removing what only" in line:
            raise Killed

    with pytest.raises(Killed):
        world.deploy(report=report)
    with pytest.raises(RolloutError, match="There is no service account nobody"):
        world.deploy(service_account="nobody")
    assert world.state() == DONE
