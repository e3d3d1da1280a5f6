"""A rollout to KServe in its mode Knative: revisions, shares of the requests, and the way back.

What is the same in both modes is tried by test_kserve.py, its neighbours and test_rollout_goals.py, in this mode with
`KFP_BERT_ROUNDS=all`.
"""

import os
import signal
from dataclasses import replace
from functools import partial

import pytest

from kfp_bert_components.deployment import RolloutError
from kfp_bert_components.errors import UserError
from kfp_bert_components.kserve import KServeSettings, deploy_to_kserve
from kfp_bert_components.kserve.revisions import tag_addresses
from tests.support.kserve_rollouts import FEW, NAME, NAMESPACE, SERVICES
from tests.support.kserve_shares import DONE, FAILED, rarely, spoil, stamp, wait_until
from tests.support.kserve_worlds import empty, world
from tests.support.kubernetes_server import Fault

__all__ = ["empty", "world"]

MODE = "serving.kserve.io/deploymentMode"


@pytest.fixture
def mode():
    return "Knative"


def written(world):
    """The versions that were written, each with the share that it was given."""
    bodies = [call.body["spec"]["predictor"] for call in world.server.changing_calls() if call.body]
    return [(int(stamp(one).split("-")[0]), one.get("canaryTrafficPercent")) for one in bodies]


def change(world, **fields):
    """Change the predictor as somebody else would."""

    def write(one):
        one["spec"]["predictor"] |= fields
        return one

    world.server.cluster.store.change(SERVICES, NAMESPACE, NAME, write)


def test_a_version_gets_the_requests_in_steps_and_one_that_is_live_costs_five_calls(world):
    lines = []
    live = world.deploy(report=lines.append)
    assert written(world) == [(2, 0), (2, 10), (2, 50), (2, 100), (2, None)]
    assert world.state() == DONE
    assert live["facts"]["mode"] == "Knative"
    assert live["facts"]["witnesses"] == ["its servers", "the InferenceService's status"]
    assert live["facts"]["served"] == f"{NAME}-predictor-00002"
    assert "version 2 gets 50 % of the requests" in lines
    world.server.calls.clear()
    world.deploy(report=lines.append)
    assert lines[-1] == "version 2 is live: nothing to do"
    assert len(world.server.calls) <= 5 and world.changes() == []


def test_a_wrong_version_never_gets_a_request_and_the_old_one_is_written_back(world):
    before, world.wrong = world.service(), {2}
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy(traffic_steps=(100,))
    assert world.service()["spec"] == before["spec"]
    assert world.state() == FAILED
    assert written(world) == [(2, 0), (1, 0), (1, None)]


def test_a_version_that_fails_with_all_requests_gives_them_back_at_once(world):
    asked = []

    def look(number, call):
        if call.verb == "patch" and call.body["spec"]["predictor"].get("canaryTrafficPercent") == 0:
            asked.append(world.versions_serving())

    world.server.on_call = look
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy(report=partial(spoil, world, "version 2 gets 100 % of the requests"))
    assert written(world)[3:] == [(2, 100), (2, 0), (1, 0), (1, None)]
    # The old revision, whose pods are still there, has all requests before its successor is made.
    assert (asked[0], asked[2]) == ({1: 100}, {1: 100})
    assert world.state() == FAILED


def test_a_version_that_fails_with_a_share_of_the_requests_never_gets_all(world):
    report = partial(spoil, world, "version 2 gets 50 % of the requests")
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy(report=report, smoke=replace(FEW, bake_seconds=0.1))
    assert written(world) == [(2, 0), (2, 10), (2, 50), (2, 0), (1, 0), (1, None)]
    assert world.state() == FAILED


@pytest.mark.slow
def test_killed_between_two_steps_the_next_run_goes_on_with_the_next_one(world):
    def stop(number, call):
        if call.body and (call.body.get("spec") or {}).get("predictor", {}).get("canaryTrafficPercent") == 50:
            wait_until(lambda: run)
            os.kill(run[0].pid, signal.SIGKILL)

    run = []
    world.server.on_call = stop
    run.append(world.deploy_elsewhere())
    run[0].join(60)
    world.server.on_call = lambda number, call: None
    world.server.calls.clear()
    world.deploy(lease_seconds=0.3)
    assert written(world) == [(2, 100), (2, None)]
    assert world.state() == DONE


@rarely
def test_a_first_version_has_all_requests_and_a_wrong_one_leaves_nothing(empty):
    empty.wrong = {1}
    with pytest.raises(RolloutError, match="differs by"):
        empty.deploy()
    assert empty.state() == {"serving": {}, "services": [], "record": ("failed", 1)}
    empty.wrong = set()
    empty.server.calls.clear()
    empty.deploy()
    assert written(empty) == [(1, 100), (1, None)]
    assert empty.state() == {"serving": {1: 100}, "services": [NAME], "record": ("live", 1)}


@rarely
def test_where_the_old_version_cannot_start_again_its_revision_keeps_the_requests(world):
    world.wrong, lines = {2}, []

    def report(line):
        lines.append(line)
        world.server.cluster.quota = 2 if "asking" in line else world.server.cluster.quota

    with pytest.raises(RolloutError, match="differs by"):
        world.deploy(report=report)
    assert world.versions_serving() == {1: 100}
    assert world.service()["spec"]["predictor"]["canaryTrafficPercent"] == 0
    assert any("keeps canaryTrafficPercent: 0; the revision from before serves" in line for line in lines)
    world.server.cluster.quota, world.wrong = None, set()
    world.promote()
    world.deploy()
    assert world.state() == {"serving": {3: 100}, "services": [NAME], "record": ("live", 3)}


@rarely
def test_a_revision_that_somebody_took_back_is_rolled_out_again(world):
    world.deploy()
    change(world, canaryTrafficPercent=0)
    wait_until(lambda: world.versions_serving() == {1: 100})
    world.server.calls.clear()
    world.deploy()
    assert written(world) == [(2, 10), (2, 50), (2, 100), (2, None)]
    assert world.state() == DONE


@rarely
def test_a_revision_that_somebody_took_back_and_that_fails_again_gets_no_requests(world):
    world.deploy()
    change(world, canaryTrafficPercent=0)
    wait_until(lambda: world.versions_serving() == {1: 100})
    world.server.calls.clear()
    report = partial(spoil, world, "version 2 gets 50 % of the requests")
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy(report=report, smoke=replace(FEW, bake_seconds=0.1))
    assert written(world) == [(2, 10), (2, 50), (2, 0)]
    assert world.versions_serving() == {1: 100}


@rarely
def test_labels_that_somebody_changed_take_no_requests_away(world):
    def change_label(number, call):
        if (call.verb, call.name) == ("get", NAME):
            world.server.on_call = lambda number, call: None
            world.server.cluster.store.change(
                SERVICES, NAMESPACE, NAME, lambda one: one["metadata"].update(annotations={"note": "x"}) or one
            )

    world.deploy()
    world.registry.store.delete("deployments/production.json")
    world.server.on_call = change_label
    world.server.calls.clear()
    world.deploy()
    assert all(percent is None for _, percent in written(world))
    assert world.versions_serving() == {2: 100}


@rarely
def test_a_version_that_has_all_requests_keeps_them_where_its_record_is_lost(world):
    world.deploy()
    world.registry.store.delete("deployments/production.json")
    world.server.calls.clear()
    world.deploy()
    assert world.changes() == [] and world.versions_serving() == {2: 100}


def test_who_moves_the_requests_by_hand_is_not_disturbed_and_other_ways_are_refused(world):
    change(world, canaryTrafficPercent=20)
    with pytest.raises(RolloutError, match="canaryTrafficPercent: 20, so somebody moves its requests"):
        world.deploy()
    change(world, canaryTrafficPercent=None)
    world.server.cluster.knative = False
    with pytest.raises(RolloutError, match="the cluster has no Knative Serving"):
        world.deploy()
    assert world.changes() == []


@rarely
def test_kserve_that_gives_the_rest_to_a_third_revision_is_not_followed(world):
    world.deploy()
    world.promote()

    def fall_back(number, call):
        if call.verb == "patch" and call.body["spec"]["predictor"].get("canaryTrafficPercent") == 0:
            status = world.service()["status"]
            status["components"]["predictor"]["latestRolledoutRevision"] = f"{NAME}-predictor-00001"
            world.server.cluster.store.set_status(SERVICES, NAMESPACE, NAME, status)
            world.server.on_call = lambda number, call: None

    world.server.on_call = fall_back
    with pytest.raises(RolloutError, match="gives the requests to the revision films-predictor-00001, and films-pred"):
        world.deploy()
    assert world.state() == {"serving": {2: 100}, "services": [NAME], "record": ("failed", 3)}


def test_a_mode_that_changed_meanwhile_is_refused(world):
    def break_down(number, call):
        if call.verb == "patch":
            world.server.faults = [Fault("patch", "inferenceservices", times=-1)]

    world.server.on_call = break_down
    with pytest.raises(UserError, match="is left reverting"):
        world.deploy()
    world.server.faults, world.server.on_call = [], lambda number, call: None
    status = {**world.service()["status"], "deploymentMode": "Standard"}
    world.server.cluster.controller = False
    world.server.cluster.store.set_status(SERVICES, NAMESPACE, NAME, status)
    world.server.calls.clear()
    with pytest.raises(RolloutError, match="is in KServe's mode Standard, and its rollout began in Knative"):
        world.deploy(lease_seconds=0.3)
    assert world.changes() == []


@rarely
def test_annotations_ask_for_it_where_standard_is_the_default(empty):
    empty.server.cluster.default_mode = "Standard"
    empty.deploy(annotations={MODE: "Serverless"})
    assert empty.service()["metadata"]["annotations"][MODE] == "Knative"  # KServe's newer name of it
    assert empty.versions_serving() == {1: 100}
    empty.promote()
    empty.server.calls.clear()
    empty.deploy(annotations={MODE: "Serverless"}, traffic_steps=(30, 100))
    assert written(empty) == [(2, 0), (2, 30), (2, 100), (2, None)]


@rarely
def test_without_the_right_to_pods_it_works(world):
    edit = {"apiGroups": ["serving.kserve.io"], "resources": ["inferenceservices", "servingruntimes"], "verbs": ["*"]}
    world.server.rules = [edit]
    world.wrong, real = {2}, world.server.cluster.find_model
    # So slow that the revision which failed is still the newest that is ready when the old version is written back.
    world.server.cluster.find_model = lambda uri: replace(real(uri), load_seconds=160.0)
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy()
    assert world.state() == FAILED
    world.wrong, world.server.cluster.find_model = set(), real
    world.promote()
    world.deploy()
    assert world.state() == {"serving": {3: 100}, "services": [NAME], "record": ("live", 3)}


@rarely
def test_a_revision_that_cannot_be_reached_gets_no_requests(world):
    nobody = "http://127.0.0.1:1"
    world.server.cluster.open_revision = lambda namespace, name: nobody
    with pytest.raises(RolloutError, match=f"{NAME}-predictor-00002 is ready, and does not answer at {nobody}"):
        world.deploy()
    assert world.state() == FAILED
    assert written(world) == [(2, 0), (1, 0), (1, None)]


@rarely
def test_a_dry_run_tells_the_steps(world):
    lines, settings = [], KServeSettings(NAME, NAMESPACE, cpu="100m", ready_seconds=10, traffic_steps=(20, 100))
    deploy_to_kserve("gs://bucket/registry", settings, api_endpoint=world.server.url, dry_run=True, report=lines.append)
    assert lines[0].startswith("would test version 2 in a revision that gets no requests, give it 20, 100 % of them")
    assert any("versions/2/bundle" in line for line in lines)
    assert world.changes() == []


def test_a_tag_has_an_address_in_the_status_and_one_inside_the_cluster():
    traffic = [
        {
            "revisionName": "r2",
            "latestRevision": True,
            "percent": 0,
            "tag": "latest",
            "url": "http://latest-a.example.com",
        },
        {
            "revisionName": "r1",
            "latestRevision": False,
            "percent": 100,
            "tag": "prev",
            "url": "http://prev-a.example.com",
        },
    ]
    predictor = {"traffic": traffic, "address": {"url": "http://a-predictor.team.svc.cluster.local"}}
    found = {"status": {"components": {"predictor": predictor}}}
    inside = "http://latest-a-predictor.team.svc.cluster.local"
    assert tag_addresses(found, "r2") == ["http://latest-a.example.com", inside]
    assert tag_addresses(found, "r1") == []
