"""What others do to the InferenceServices during a rollout stays, and gets no requests that nobody tested."""

import json

import pytest

from kfp_bert_components.deployment import LeaseLostError, RolloutError
from tests.support.kserve_rollouts import EVERY, MODES, NAME, NAMESPACE, NEXT, SERVICES
from tests.support.kserve_shares import wait_until
from tests.support.kserve_worlds import empty, world
from tests.support.kubernetes_server import Fault

__all__ = ["empty", "world"]

THEIRS = {"name": "kserve-container", "image": "theirs", "env": [{"name": "STORAGE_URI", "value": "pvc://c/m"}]}
STOP = "serving.kserve.io/stop"
LABELS = {"kfp-bert-registry": "another", "kfp-bert-target": "production"}
BOTH = pytest.mark.parametrize("mode", ["Standard", "Knative"])


@pytest.fixture
def mode():
    return "Standard"


def make(world, **predictor):
    """Make the InferenceService as somebody else would."""
    metadata = {"name": NAME, "namespace": NAMESPACE, "labels": {"team": "theirs"}}
    spec = {"predictor": {"containers": [THEIRS], "minReplicas": 1, **predictor}}
    world.server.cluster.store.create(SERVICES, {"metadata": metadata, "spec": spec})


def change(world, **fields):
    """Change its predictor, or `labels`, `image` or `canary`, as somebody else would."""

    def write(one):
        predictor = one["spec"]["predictor"]
        one["metadata"]["labels"] |= fields.pop("labels", {})
        if "image" in fields:
            predictor["containers"][0]["image"] = fields.pop("image")
        if "canary" in fields:
            one["spec"]["canary"] = fields.pop("canary")
        predictor |= fields
        return one

    world.server.cluster.store.change(SERVICES, NAMESPACE, NAME, write)


class Once:
    """A report, or an `on_call`, by which something happens at its first line, or call, that fits."""

    def __init__(self, fits, happens):
        self.fits, self.happens, self.lines = fits, happens, []

    def __call__(self, *said):
        self.lines.append(said[-1])
        if self.happens and self.fits(said[-1]):
            happens, self.happens = self.happens, None
            happens()


def says(text):
    return lambda line: text in line


def calls(verb, name=NAME):
    return lambda call: (call.verb, call.name) == (verb, name)


def model(service):
    """The version in an InferenceService."""
    return json.dumps(service).split("/versions/")[1].split("/")[0]


@pytest.mark.parametrize("take_over", [False, True])
@pytest.mark.parametrize("when", ["before the write", "between the look and the write"])
def test_one_that_is_made_during_the_rollout_is_theirs(empty, when, take_over):
    look = Once(calls("get"), lambda: make(empty))
    if when == "before the write":
        asking = Once(says("asking it for texts"), lambda: make(empty))
    else:
        asking = Once(says("changing the InferenceService"), lambda: setattr(empty.server, "on_call", look))
    with pytest.raises(RolloutError, match=f"somebody made the InferenceService {NAME} during the rollout"):
        empty.deploy(report=asking, take_over=take_over)
    assert empty.service()["metadata"]["labels"] == {"team": "theirs"}
    assert empty.service()["spec"]["predictor"]["containers"][0]["image"] == "theirs"
    assert empty.state()["services"] == [NAME] and empty.state()["record"] == ("failed", 1)
    assert f"delete inferenceservices {NEXT}" in empty.changes()


@BOTH
def test_one_that_is_made_while_a_first_version_begins_is_theirs(empty):
    name = {"Standard": NEXT, "Knative": NAME}[empty.mode]

    def build():
        metadata = {"name": name, "namespace": NAMESPACE, "labels": LABELS}
        predictor = {"containers": [THEIRS], "minReplicas": 1}
        empty.server.cluster.store.create(SERVICES, {"metadata": metadata, "spec": {"predictor": predictor}})

    with pytest.raises(RolloutError):
        empty.deploy(report=Once(says("starting it beside"), build))
    assert empty.changes() == []
    assert empty.service(name)["metadata"]["labels"] == LABELS


def test_one_that_becomes_theirs_after_it_was_written_is_left_alone_and_the_second_one_is_removed(world):
    def give_away():
        change(world, labels=LABELS)
        world.wrong = {2}  # what its pods load from now on

    world.server.on_call = Once(calls("patch"), give_away)
    lines = []
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy(report=lines.append)
    assert any(f"{NAME} is left alone: The InferenceService default/{NAME} belongs to" in line for line in lines)
    assert world.changes().count(f"patch inferenceservices {NAME}") == 1
    assert world.state()["services"] == [NAME] and world.state()["record"] == ("failed", 2)


def test_a_version_that_fails_its_test_leaves_the_first_one_as_somebody_made_it(world):
    world.wrong = {2}
    report = Once(says("asking it for texts"), lambda: change(world, minReplicas=3, maxReplicas=6))
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy(report=report)
    predictor = world.service()["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (3, 6)
    assert f"patch inferenceservices {NAME}" not in world.changes()


def test_what_somebody_changed_during_the_test_is_not_overwritten(world):
    report = Once(says("asking it for texts"), lambda: change(world, maxReplicas=6))
    with pytest.raises(RolloutError, match=f"changed the InferenceService {NAME} .*spec.predictor.maxReplicas"):
        world.deploy(report=report)
    assert world.service()["spec"]["predictor"]["maxReplicas"] == 6
    assert f"patch inferenceservices {NAME}" not in world.changes()
    assert world.state() == {"serving": {1: 100}, "services": [NAME], "record": ("failed", 2)}
    world.deploy()
    assert world.service()["spec"]["predictor"]["maxReplicas"] == 1 and world.versions_serving() == {2: 100}


def test_one_that_is_deleted_during_the_test_is_not_made_again(world):
    delete = world.server.cluster.store.delete
    with pytest.raises(RolloutError, match=f"somebody deleted the InferenceService {NAME}"):
        world.deploy(report=Once(says("asking it for texts"), lambda: delete(SERVICES, NAMESPACE, NAME)))
    assert world.state()["services"] == []


def test_the_way_back_takes_back_what_was_written_and_nothing_else(world):
    change(world, timeout=60)

    def interfere():
        change(world, timeout=77, image="theirs:2", labels={"note": "x"})
        world.wrong = {2}

    before, world.server.on_call = world.service(), Once(calls("patch"), interfere)
    with pytest.raises(RolloutError):
        world.deploy(ready_seconds=1)
    after = world.service()
    assert model(after) == "1"
    assert after["spec"]["predictor"]["timeout"] == 77
    assert after["spec"]["predictor"]["containers"][0]["image"] == "theirs:2"
    assert after["metadata"]["labels"] == {**before["metadata"]["labels"], "note": "x"}


@pytest.mark.parametrize("when", ["asking it for texts", "what it was before"], ids=["before", "after"])
def test_what_somebody_took_away_before_or_after_the_write_does_not_come_back(world, when):
    def take_away():
        world.server.cluster.store.change(
            SERVICES, NAMESPACE, NAME, lambda one: one["spec"]["predictor"].pop("timeout") and one
        )

    change(world, timeout=60)
    world.server.on_call = Once(calls("patch"), lambda: world.wrong.add(2))
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy(report=Once(says(when), take_away))
    assert "timeout" not in world.service()["spec"]["predictor"]
    assert world.state() == {"serving": {1: 100}, "services": [NAME], "record": ("failed", 2)}


def test_what_the_version_before_had_and_the_settings_no_longer_give_comes_back(empty):
    empty.deploy(labels={"team": "films"}, node_selector={"disk": "fast"})
    change(empty, timeout=60)
    before = empty.service()
    empty.promote()
    empty.server.on_call = Once(calls("patch"), lambda: empty.wrong.add(2))
    with pytest.raises(RolloutError, match="differs by"):
        empty.deploy()
    after = empty.service()
    assert after["spec"] == before["spec"] and after["metadata"]["labels"] == before["metadata"]["labels"]


def set_stop(world, *, stopped):
    """Stop the InferenceService, or start it, as somebody else would."""

    def write(one):
        annotations = one["metadata"].setdefault("annotations", {})
        annotations.pop(STOP, None)
        one["metadata"]["annotations"] = {**annotations, STOP: "true"} if stopped else annotations
        return one

    world.server.cluster.store.change(SERVICES, NAMESPACE, NAME, write)


@pytest.mark.parametrize(
    ("mode", "when"),
    [("Standard", "changing the InferenceService"), ("Gateway", "gets 50 %")],
)
def test_one_that_somebody_stops_does_not_get_the_version_and_is_not_stopped_again(world, when):
    with pytest.raises(RolloutError, match=f"{NAME} is stopped by its annotation {STOP}"):
        world.deploy(report=Once(says(when), lambda: set_stop(world, stopped=True)))
    written = [call.body.get("spec", {}) for call in world.server.changing_calls() if call.name == NAME and call.body]
    assert not any("predictor" in spec for spec in written)
    assert world.service()["metadata"]["annotations"][STOP] == "true"
    assert world.registry.deployment("production").state == "failed"
    set_stop(world, stopped=False)
    wait_until(world.versions_serving)
    world.deploy()
    assert STOP not in world.service()["metadata"]["annotations"]
    assert world.state() == {"serving": {2: 100}, "services": [NAME], "record": ("live", 2)}
    assert not any(STOP in json.dumps(call.body) for call in world.server.changing_calls())


@pytest.mark.parametrize("mode", ["Knative"])
def test_one_that_somebody_stops_between_two_steps_of_knative_gets_no_further_step(world):
    report = Once(says("gets 10 %"), lambda: set_stop(world, stopped=True))
    with pytest.raises(RolloutError, match=f"{NAME} is stopped by its annotation {STOP}"):
        world.deploy(report=report)
    shares = [call.body["spec"]["predictor"].get("canaryTrafficPercent") for call in world.server.changing_calls()]
    assert max(share or 0 for share in shares) == 10
    assert world.service()["metadata"]["annotations"][STOP] == "true"
    set_stop(world, stopped=False)
    wait_until(lambda: world.versions_serving() == {1: 100})
    world.deploy()
    assert STOP not in world.service()["metadata"]["annotations"]
    assert "canaryTrafficPercent" not in world.service()["spec"]["predictor"]
    assert world.state() == {"serving": {2: 100}, "services": [NAME], "record": ("live", 2)}


@pytest.mark.parametrize("mode", ["Knative"])
def test_a_version_to_which_knative_gave_all_requests_after_a_stop_is_taken_back_by_the_next_run(world):
    """KServe forgets the revisions of one that is stopped, and with them who had the requests."""

    def die():
        raise LeaseLostError("killed")

    with pytest.raises(LeaseLostError):
        world.deploy(report=Once(says("gets 10 %"), die))
    set_stop(world, stopped=True)
    wait_until(lambda: not world.versions_serving())
    set_stop(world, stopped=False)
    wait_until(lambda: world.versions_serving() == {2: 100})
    with pytest.raises(RolloutError, match="films-predictor-00001, and films-predictor-00002 was tested"):
        world.deploy()
    assert world.state() == {"serving": {1: 100}, "services": [NAME], "record": ("failed", 2)}
    world.deploy()
    assert world.state() == {"serving": {2: 100}, "services": [NAME], "record": ("live", 2)}


def test_who_changes_it_while_it_is_written_back_is_waited_for(world):
    changed = []

    def touch(number, call):
        if (call.verb, call.name) == ("get", NAME) and len(changed) < 6:
            changed.append(number)
            change(world, timeout=60 + len(changed))

    world.server.on_call = Once(calls("patch"), lambda: world.wrong.add(2))
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy(report=Once(says("what it was before"), lambda: setattr(world.server, "on_call", touch)))
    assert len(changed) == 6 and world.service()["spec"]["predictor"]["timeout"] == 66
    assert world.state() == {"serving": {1: 100}, "services": [NAME], "record": ("failed", 2)}
    patches = [call for call in world.server.changing_calls() if (call.verb, call.name) == ("patch", NAME)]
    assert all("resourceVersion" in call.body["metadata"] for call in patches)


def test_one_with_canaries_of_somebody_else_is_refused(world):
    theirs = {"name": "theirs", "minReplicas": 1, "containers": [THEIRS]}
    change(world, canary=[{"trafficPercent": 50, "predictor": theirs}])
    with pytest.raises(RolloutError, match=f"{NAME} has spec.canary, so somebody shares its requests"):
        world.deploy()
    assert world.changes() == [] and world.service()["spec"]["canary"]


def test_a_version_that_shares_its_requests_with_a_canary_is_not_live(world):
    world.deploy()
    theirs = {"name": "theirs", "minReplicas": 1, "containers": [THEIRS]}
    change(world, canary=[{"trafficPercent": 50, "predictor": theirs}])
    with pytest.raises(RolloutError, match="has spec.canary"):
        world.deploy()
    record = world.registry.deployment("production")
    assert (record.state, record.live_version, record.live_is_known) == ("failed", 2, False)


@pytest.mark.parametrize("mode", ["Knative"])
@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"canaryTrafficPercent": 0}, "set canaryTrafficPercent of the InferenceService films to 0"),
        ({"canaryTrafficPercent": 30}, "set canaryTrafficPercent of the InferenceService films to 30"),
        ({"image": "theirs:2"}, r"changed the InferenceService films .*\(spec.predictor.containers\)"),
        ({"minReplicas": 2, "maxReplicas": 3}, r"\(spec.predictor.minReplicas, spec.predictor.maxReplicas\)"),
        ({"labels": {"note": "x"}}, "films-predictor-00003, and films-predictor-00002 was tested"),
    ],
    ids=["stopped", "moved", "image", "replicas", "label"],
)
def test_what_somebody_does_between_two_steps_ends_the_rollout_and_stays(world, fields, told):
    report, given = Once(says("gets 10 %"), lambda: change(world, **dict(fields))), dict(fields)
    with pytest.raises(RolloutError, match=told):
        world.deploy(report=report, step_seconds=0.1)
    assert world.versions_serving() == {1: 100}
    assert not any("50 %" in line for line in report.lines)
    service = world.service()
    assert model(service) == "1"
    predictor = service["spec"]["predictor"]
    if given.keys() & {"image", "minReplicas"}:  # nobody tested that, so it gets no requests
        assert predictor["canaryTrafficPercent"] == 0
        assert any("keeps canaryTrafficPercent: 0" in line for line in report.lines)
        shown = {**predictor, "image": predictor["containers"][0]["image"]}
        assert {key: shown[key] for key in given} == given
    else:
        assert "canaryTrafficPercent" not in predictor
        assert given.get("labels", {}).items() <= service["metadata"]["labels"].items()


@pytest.mark.parametrize("mode", ["Knative"])
@pytest.mark.parametrize("tries", [1, 2])
def test_a_version_that_somebody_takes_back_between_two_steps_is_not_written_again(world, tries):
    old = world.service()["spec"]["predictor"]

    def take_back():
        change(world, canaryTrafficPercent=0, **old)
        world.server.faults = [Fault("get", "inferenceservices", times=tries - 1)]

    with pytest.raises(RolloutError, match="somebody changed the InferenceService films"):
        world.deploy(report=Once(says("gets 10 %"), take_back), step_seconds=0.1)
    assert world.versions_serving() == {1: 100} and model(world.service()) == "1"
    written = [model(call.body) for call in world.server.changing_calls()]
    assert written.index("1") == written.count("2")  # never the second one again


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fields", [{"image": "theirs:2"}, {"maxReplicas": 9}], ids=["image", "replicas"])
def test_a_version_in_other_pods_than_the_settings_say_is_rolled_out_again(world, fields):
    world.deploy()
    given = world.service()["spec"]
    change(world, **dict(fields))
    lines = []
    world.deploy(report=lines.append)
    assert lines[0].endswith("rolling it out again")
    assert world.service()["spec"] == given
    assert world.state() == {"serving": {2: 100}, "services": [NAME], "record": ("live", 2)}


@pytest.mark.parametrize("mode", EVERY)
def test_a_record_of_the_first_rollout_that_is_restored_does_not_delete_the_version_of_now(empty):
    old, serving = [], []
    empty.deploy(report=lambda line: old.append(empty.registry.deployment("production")))
    empty.promote()
    empty.deploy()
    record = empty.registry.deployment("production")
    first = next(one for one in old if one.details.get("facts", {}).get("wrote"))
    empty.registry.record_deployment(
        "production",
        if_generation=record.generation,
        state=first.state,
        version=first.version,
        details={**first.details, "holder": ""},
        place=first.place,
        served="",
    )
    lines = []
    empty.server.calls.clear()
    empty.server.on_call = lambda number, call: serving.append(empty.versions_serving())
    empty.deploy(report=lines.append)
    assert any(f"{NAME} has not the version 1 that this rollout wrote: it is left alone" in line for line in lines)
    assert f"delete inferenceservices {NAME}" not in empty.changes() and {} not in serving
    assert empty.state() == {"serving": {2: 100}, "services": [NAME], "record": ("live", 2)}
