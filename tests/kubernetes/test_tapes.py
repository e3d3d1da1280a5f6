"""The fake KServe does what the real one was seen to do: each recording is played to it, and the states compared."""

from datetime import date, datetime, time
from functools import partial
from pathlib import Path

import kubernetes
import pytest

from tests.support.kubernetes_inference import NAMESPACE, WHERE
from tests.support.kubernetes_predictors import Model
from tests.support.kubernetes_server import KubernetesServer
from tests.support.kubernetes_store import DEPLOYMENTS, PODS
from tests.support.kubernetes_tapes import KINDS, excerpts, read_excerpts, states

TAPES = Path(__file__).parents[3] / "shared" / "data" / "kserve" / "tapes"
EXCERPTS = {name: one for name, one in read_excerpts().items() if "states" in one}


GOOD = ("pvc://models/a", "pvc://models/b", "pvc://models/c", "s3://mlpipeline/ks-model", "gs://ks-bucket/model")
NO_MODEL_NAME = ["sh", "-c", "echo 'No such option: --model-name'; exit 2"]  # as our server said then
DOWN, UP = "15:12:41.500", "15:12:51.100"  # when KServe's controller was stopped and started


def switch(**settings):
    """Change switches of the cluster."""

    def change(cluster):
        for name, value in settings.items():
            setattr(cluster, name, value)

    return change


def scale_by_hand(cluster):
    def change(one):
        return {**one, "spec": {**one["spec"], "replicas": 2}}

    cluster.store.change(DEPLOYMENTS, NAMESPACE, "j-apply-predictor", change)


def delete_pods(cluster):
    for pod in cluster.store.list(PODS, NAMESPACE, "app=isvc.b-roll-predictor"):
        cluster.store.delete(PODS, NAMESPACE, pod["metadata"]["name"])


def lose_bucket(cluster):
    cluster.models.pop("gs://ks-bucket/model")


def make_bucket(cluster):
    cluster.models["gs://ks-bucket/model"] = Model()


def load_quickly(cluster):
    cluster.models["pvc://models/a"].load_seconds = 4


def load_slowly(cluster):
    for model in cluster.models.values():
        model.load_seconds = 9.5


def load_very_slowly(cluster):
    cluster.models["pvc://models/c"].load_seconds = 60


def lack_a_folder_for_temporary_files(cluster):
    cluster.models["pvc://models/a"].problem = "No usable temporary directory"


NOT_PLAYED = {
    "j-409": "two changes and a scaling by hand within 0.2 s, and what overtakes what is chance; see test_kserve.py",
}

# Parts of states that one of the two shows for a moment, and that are not compared.
CHANCE = {
    "b-roll": ["1: 0 0", "NewReplicaSetAvailable, ReplicaFailure"],
    "d-s3": ["storage-initializer=waiting ErrImagePull", "storage-initializer=waiting ImagePullBackOff"],  # the setting
    "g-quota": ["1: 0 0 0, Available=False MinimumReplicasUnavailable, Progressing=True NewReplicaSetCreated"],
    "i-canary": ["waiting ImagePullBackOff"],
    "j-recreate": ["NewReplicaSetAvailable, to be deleted", "1: 0 0"],
    "m-brokentcp": ["Running, kserve-container=running"],
    "m-named": ["Running, kserve-container=running"],
    "z-rbac": ["PredictorReady=False, Ready=False"],
}

# What else happened in a recording, or was chance: seconds after its start, and how it is played.
WORLD = {
    "a-good": [(0, switch(node_cpu=0)), (95, switch(node_cpu=64))],
    "a-gs": [(0, lose_bucket), (23, make_bucket)],
    "b-roll": [(1759.9, delete_pods)],
    "g-quota": [(0, switch(quota=0)), (1145, switch(quota=1))],
    "i-canary": [(50, load_very_slowly)],
    "j-409": [(9.42, scale_by_hand)],
    "j-recreate": [(0, load_quickly)],
    "l-metadata": [(6.1, load_slowly)],
    "m-sec": [(0, lack_a_folder_for_temporary_files)],
}


def play(tape):
    """The states that the fake shows when the recording's actions are done to it."""
    seen = []
    with KubernetesServer(factor=0) as server, server.client() as client:
        cluster, api = server.cluster, kubernetes.client.CustomObjectsApi(client)
        furnish(cluster)
        cluster.store.listeners.append(lambda event: seen.append((cluster.clock.now(), *of_event(event))))
        steps = [(one["at"], partial(do, api, one)) for one in tape["actions"]]
        end = steps[-1][0]
        steps += [(seconds, partial(change, cluster)) for seconds, change in WORLD.get(tape["tape"], [])]
        steps += [(seconds, partial(change, cluster)) for seconds, change in restart(tape) if 0 < seconds < end + 10]
        for seconds, step in sorted(steps, key=lambda one: one[0]):
            cluster.clock.advance(max(0.0, seconds - cluster.clock.now()))
            step()
        cluster.clock.advance(60)
    return states(row for row in seen if row[1] in KINDS.values())


def of_event(event):
    return event.resource.kind, event.type, event.object


def restart(tape):
    """When KServe's controller was stopped and started, in seconds of a recording."""
    began, down, up = (time.fromisoformat(moment) for moment in (tape["began"], DOWN, UP))
    for moment, running in ((down, False), (up, True)):
        day = date(2026, 11, 28)
        seconds = (datetime.combine(day, moment) - datetime.combine(day, began)).total_seconds()
        yield seconds, switch(controller=running)


def furnish(cluster):
    cluster.add_runtime()
    for name, more in (("bare", {"ports": None}), ("p8501", {}), ("named", {"command": NO_MODEL_NAME})):
        cluster.add_runtime(name, name, readinessProbe=None, **more)
    cluster.add("PersistentVolumeClaim", "models", NAMESPACE)
    cluster.missing_images.add("kfp-bert-components/nope:9")
    for uri in GOOD:
        cluster.models[uri] = Model(load_seconds=4.5)
    cluster.models["pvc://models/broken"] = Model(problem="version 3 cannot be served")


def do(api, one):
    if one["do"] == "create":
        api.create_namespaced_custom_object(*WHERE, one["body"])
    elif one["do"] == "replace":
        name = one["body"]["metadata"]["name"]
        there = api.get_namespaced_custom_object(*WHERE, name)
        kept = {key: value for key, value in there["metadata"].items() if key not in ("labels", "annotations")}
        body = {**there, "metadata": {**kept, **one["body"]["metadata"]}, "spec": one["body"]["spec"]}
        api.replace_namespaced_custom_object(*WHERE, name, body)
    else:
        policy = {"propagation_policy": "Foreground"} if one.get("foreground") else {}
        api.delete_namespaced_custom_object(*WHERE, one["name"], **policy)


@pytest.mark.parametrize("name", sorted(EXCERPTS.keys() - NOT_PLAYED.keys()))
def test_it_goes_through_the_recorded_states(name):
    left_out = CHANCE.get(name, ())
    recorded, played = EXCERPTS[name]["states"], play(EXCERPTS[name])
    assert played.keys() == recorded.keys()
    for one in recorded:
        assert without(played[one], left_out) == without(recorded[one], left_out), one


def without(listed, left_out):
    return [one for one in listed if not any(part in one for part in left_out)]


def test_every_recording_is_played_or_has_its_reason():
    same = {name: one["same_as"] for name, one in read_excerpts().items() if "same_as" in one}
    assert all(other in EXCERPTS for others in same.values() for other in others)
    assert read_excerpts().keys() - EXCERPTS.keys() - same.keys() == {"j-dryrun", "j-strict"}  # in test_api.py
    assert NOT_PLAYED.keys() < EXCERPTS.keys()


@pytest.mark.skipif(not TAPES.exists(), reason="the recordings do not lie beside the project")
def test_the_excerpts_are_those_of_the_recordings():
    assert list(excerpts(TAPES)) == list(read_excerpts().values())
