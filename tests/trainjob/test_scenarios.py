"""Each thing that a cluster was seen to do with a TrainJob has its outcome, and a sentence with the true cause."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.leases import change_lease, read_lease
from kfp_bert_components.storage import open_store
from tests.conftest import ROOT
from tests.support.kubernetes_resources import by_kind
from tests.support.kubernetes_server import Fault, KubernetesServer
from tests.support.kubernetes_store import PODS
from tests.support.splits import write_small_splits
from tests.support.stores import gcs
from tests.support.train_jobs import NAMESPACE, leave_outputs, run
from tests.support.trainer_tapes import FILE, SCENARIOS, Tape, excerpt, log_answer, stamped

__all__ = ["gcs"]
RECORDINGS = ROOT.parent / "shared" / "data" / "trainer" / "tapes"
JOBS, RUNTIMES = by_kind("TrainJob"), by_kind("TrainingRuntime")
MINE = "trainer.kubeflow.org/trainjob-ancestor-step"


@pytest.fixture
def world(tmp_path):
    write_small_splits(tmp_path)
    with KubernetesServer() as server:
        yield server, tmp_path


def job_of(server):
    return next(iter(server.cluster.store.list(JOBS)), None)


def refused(world, scenario, *words, **changes):
    """Play a scenario; the step ends with an error of these words, which is returned."""
    server, folder = world
    Tape(server.cluster, scenario)
    with pytest.raises(UserError) as raised:
        run(folder, server.url, **changes)
    for word in words:
        assert word in str(raised.value)
    return str(raised.value)


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not here")
def test_the_excerpts_are_what_the_recordings_have():
    committed = [json.loads(line) for line in FILE.read_text().splitlines()]
    assert committed == [json.loads(json.dumps(excerpt(RECORDINGS / name))) for name in SCENARIOS]


def test_a_job_that_completes_gives_its_outputs(world, capsys):
    server, folder = world
    Tape(server.cluster, "t-ok", on_complete=leave_outputs)
    assert run(folder, server.url) == {"validation_loss": 0.5}
    assert (folder / "report.html").read_text() == "<p>report</p>"
    spec = job_of(server)["spec"]
    assert spec["runtimeRef"] == {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": "kfp-bert"}
    assert (spec["trainer"]["numNodes"], spec["trainer"]["image"]) == (3, "image:1")
    name = job_of(server)["metadata"]["name"]
    (workers,) = [one["value"] for one in spec["trainer"]["env"] if one["name"] == "KFP_BERT_WORKERS"]
    assert workers == ",".join(f"{name}-node-0-{number}.{name}:2222" for number in range(3))
    assert "The job is succeeded." in capsys.readouterr().out
    # A second run finds it, and starts no other.
    assert run(folder, server.url) == {"validation_loss": 0.5}
    assert [str(call) for call in server.changing_calls()] == ["create trainingruntimes", "create trainjobs"]


def test_a_worker_that_fails_is_named_with_its_last_words(world):
    refused(world, "t-fail0", "ended as FAILED: worker 1 ended with exit code 1: attempt 1 / the reason (jobset failed")


def test_a_worker_that_was_tried_again_is_named_with_its_last_words(world):
    refused(world, "t-failback", "worker 1 ended with exit code 1: attempt 1 / the reason (jobset failed")


def test_a_job_whose_restarts_are_used_up_flaps_and_is_followed_to_its_end(world, capsys):
    refused(
        world, "t-failjs", "worker 1 ended with exit code 1: attempt 1 / the reason (jobset failed due to reaching max"
    )
    assert [line for line in capsys.readouterr().out.splitlines() if "started again" in line] == [
        "All workers are started again (attempt 2).",
        "All workers are started again (attempt 3).",
    ]


def test_a_job_that_lost_the_log_of_its_worker_says_what_the_cluster_says(world):
    refused(world, "t-failonf", "ended as FAILED: ", "first failed job: kfp-bert-")


def test_a_line_of_the_log_ends_with_a_newline_only(world, capsys):
    server, folder = world
    Tape(server.cluster, "t-ok", on_complete=leave_outputs)
    lines = stamped(["first", "a\rzebra b\x85zebra c\u2028zebra d", "last"])
    pods = server.cluster.store
    server.cluster.log = lambda namespace, name, query: log_answer(pods.get(PODS, namespace, name), lines, query)
    run(folder, server.url)
    said = capsys.readouterr().out.split("\n")
    assert [said.count(one) for one in ("first", "a zebra b zebra c zebra d", "last")] == [1, 1, 1]


def test_a_pod_that_was_deleted_is_named(world):
    refused(world, "t-podkill", "the pod of worker 0 was deleted, by somebody or with its node (jobset failed")


def test_an_image_that_can_t_be_pulled_ends_the_job_with_the_reason(world):
    server, _ = world
    said = refused(world, "t-badimage", "could not start, and was deleted: worker 0 can't start: ")
    # The kubelet changes between the two.
    assert "start: ErrImagePull: failed to pull" in said or "start: ImagePullBackOff: Back-off pulling image" in said
    assert job_of(server) is None


def test_no_room_is_told_and_waited_for(world, capsys):
    server, folder = world
    Tape(server.cluster, "t-unsched")
    with ThreadPoolExecutor(1) as pool:
        step = pool.submit(run, folder, server.url, stuck_seconds=0.1)
        time.sleep(1.5)
        assert not step.done()
        server.cluster.store.delete(JOBS, NAMESPACE, job_of(server)["metadata"]["name"])
        with pytest.raises(UserError, match="ended as DELETED: somebody deleted it or the pod that had started it"):
            step.result()
    said = "Not all workers can start: no node takes worker 0: 0/1 nodes are available: 1 Insufficient cpu."
    assert capsys.readouterr().out.count(said) == 1


def test_a_job_that_ended_itself_is_said_to_have_ended_so(world):
    server, folder = world
    Tape(server.cluster, "t-unsched")
    with ThreadPoolExecutor(1) as pool:
        step = pool.submit(run, folder, server.url)
        while not (job := job_of(server)):
            assert not step.done()
            time.sleep(0.02)
        # What the job does where this process has slept.
        store = open_store(job["spec"]["trainer"]["command"][-1])
        while not read_lease(store)[0].waiters:
            time.sleep(0.02)
        change_lease(store, lambda found: replace(found, waiters=(), ended="Nobody has waited for this job."))
        server.cluster.store.delete(JOBS, NAMESPACE, job["metadata"]["name"])
        with pytest.raises(UserError, match=r"ended as DELETED: Nobody has waited for this job\."):
            step.result()


def test_a_store_that_cannot_be_read_for_a_while_does_not_end_the_step(world, gcs, capsys):
    server, folder = world
    Tape(server.cluster, "t-ok", on_complete=leave_outputs)
    # What is listed first is left of an earlier job, and what is listed last is needed.
    lost = gcs.faults.add("403", "prefix=.*workers/", method="GET", skip=1)
    assert run(folder, server.url, staging="gs://bucket/staging", volumes={}) == {"validation_loss": 0.5}
    assert lost.hits == 1
    assert "What the workers have written can't be read now, and is looked at again" in capsys.readouterr().out


def test_an_answer_of_the_cluster_that_is_no_json_is_asked_for_again(world):
    server, folder = world
    Tape(server.cluster, "t-ok", on_complete=leave_outputs)
    server.faults.append(Fault("create", "trainjobs", effect="half"))
    assert run(folder, server.url) == {"validation_loss": 0.5}
    assert server.faults[0].times == 0


def test_a_deadline_is_named_by_its_parameter(world):
    refused(world, "t-deadline", "it ran, or waited for nodes, for more than job_max_hours (24)")


def test_a_job_that_is_complete_though_no_worker_ran_does_not_count(world):
    refused(world, "t-noancestor", "is complete, but 3 of its 3 workers left no result", f"{MINE}=trainer")


def test_a_job_that_is_complete_counts_only_with_the_part_of_each_worker(world):
    server, folder = world
    Tape(server.cluster, "t-ok", on_complete=lambda place: leave_outputs(place, workers=2))
    with pytest.raises(UserError, match="1 of its 3 workers left no result"):
        run(folder, server.url)
    # It is none that a second run could use.
    with pytest.raises(UserError, match="1 of its 3 workers left no result"):
        run(folder, server.url)
    assert [str(call) for call in server.changing_calls()].count("create trainjobs") == 2


@pytest.mark.parametrize("what", ["quota", "volume", "forbidden"])
def test_workers_that_do_not_start_are_told_with_the_events(world, capsys, what):
    """No pod is made, or the container of one is never created: no pod says why."""
    server, folder = world
    store, about = server.cluster.store, {"quota": "node-0", "volume": "node-0-0-x", "forbidden": "node-0-0-x"}[what]
    message = {"quota": "exceeded quota: team", "volume": "MountVolume.SetUp failed"}.get(what, "")

    def play():
        while not (job := job_of(server)):
            time.sleep(0.01)
        name = job["metadata"]["name"]
        store.set_status(JOBS, NAMESPACE, name, {"jobsStatus": [{"name": "node", "active": 1}]})
        if what == "quota":
            one = {"kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": f"{name}-{about}", "uid": "1"}}
        else:
            labels = {"jobset.sigs.k8s.io/jobset-name": name, "batch.kubernetes.io/job-completion-index": "0"}
            metadata = {"name": f"{name}-{about}", "namespace": NAMESPACE, "labels": labels}
            one = store.create(PODS, {"metadata": metadata, "spec": {"containers": [{"name": "node"}]}})
            creating = [{"name": "node", "state": {"waiting": {"reason": "ContainerCreating"}}}]
            status = {"phase": "Pending", "containerStatuses": creating}
            store.set_status(PODS, NAMESPACE, metadata["name"], status)
        one["metadata"]["namespace"] = NAMESPACE
        server.cluster.tell(one, "Warning", "Failed", message)
        time.sleep(1.0)
        late = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "x"}
        store.set_status(JOBS, NAMESPACE, name, {"conditions": [late]})

    server.cluster.kubelet.on_event = lambda event: None  # it starts nothing
    if what == "forbidden":
        own = {"apiGroups": ["trainer.kubeflow.org"], "resources": ["*"], "verbs": ["*"]}
        server.rules = [own, {"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["*"]}]
    with ThreadPoolExecutor(1) as pool:
        playing = pool.submit(play)
        with pytest.raises(UserError) as told:
            run(folder, server.url, stuck_seconds=0.3)
        playing.result()
    said = "can't be read here" if what == "forbidden" else f"Failed: {message}"
    assert said in str(told.value) and "before that, " in str(told.value)
    assert capsys.readouterr().out.count("Not all workers have started yet: ") == 1


def test_a_job_that_is_suspended_is_waited_for(world, capsys):
    server, folder = world
    Tape(server.cluster, "t-susp", on_complete=leave_outputs)
    try:
        run(folder, server.url, stuck_seconds=0.1, max_hours=1)
    except UserError as error:
        assert "ended as" in str(error)  # the recording ends by a deletion
    assert "The job is suspended." in capsys.readouterr().out


def test_a_job_of_which_nothing_comes_ends_with_what_the_cluster_says_of_it(world):
    server, _ = world
    message = "TrainJob resources reconciliation failed: admission webhook"
    store = server.cluster.store
    store.listeners.append(
        lambda event: (
            event.resource == JOBS
            and event.type == "ADDED"
            and server.cluster.tell(event.object, "Warning", "TrainJobResourcesCreationFailed", message)
        )
    )
    refused(world, "", "nothing has come of it in", message)
    assert job_of(server) is None


def test_a_runtime_without_the_label_is_refused_before_anything_is_written(world):
    server, _ = world
    jobs = [{"name": "node", "template": {"spec": {}}}]
    server.cluster.add("TrainingRuntime", "theirs", spec={"template": {"spec": {"replicatedJobs": jobs}}})
    refused(world, "", f"The TrainingRuntime theirs has no job with the label {MINE}=trainer", runtime="theirs")
    assert server.changing_calls() == []


@pytest.mark.parametrize("name", ["nosuch", "ClusterTrainingRuntime/nosuch"])
def test_a_runtime_that_is_not_there_is_named_with_its_kind(world, name):
    kind = "ClusterTrainingRuntime" if "/" in name else "TrainingRuntime"
    refused(world, "", f"The {kind} nosuch is not there", runtime=name)


def test_a_runtime_whose_job_has_a_long_name_is_refused(world):
    jobs = [{"name": "n" * 20, "template": {"metadata": {"labels": {MINE: "trainer"}}}}]
    world[0].cluster.add("TrainingRuntime", "long", spec={"template": {"spec": {"replicatedJobs": jobs}}})
    refused(world, "", "pods would get names of more than 63 letters", runtime="long")


def test_a_service_of_the_job_s_name_is_refused(world):
    server, folder = world
    Tape(server.cluster, "t-fail0")
    with pytest.raises(UserError, match="ended as FAILED"):
        run(folder, server.url)
    name = job_of(server)["metadata"]["name"]
    server.cluster.add("Service", name, NAMESPACE, spec={"selector": {"app": "theirs"}})
    with pytest.raises(UserError, match=f"There is a Service {name} in the namespace default"):
        run(folder, server.url)


def test_a_short_outage_where_the_service_is_looked_for_does_no_harm(world):
    server, folder = world
    Tape(server.cluster, "t-ok", on_complete=leave_outputs)
    server.faults.append(Fault("get", "services"))
    assert run(folder, server.url) == {"validation_loss": 0.5}
    assert server.faults[0].times == 0


def test_a_train_job_of_somebody_else_is_left_alone(world):
    server, folder = world
    Tape(server.cluster, "t-fail0")
    with pytest.raises(UserError, match="ended as FAILED"):
        run(folder, server.url)
    name = job_of(server)["metadata"]["name"]
    server.cluster.store.change(JOBS, NAMESPACE, name, lambda one: one["metadata"].update(labels={}))
    with pytest.raises(UserError, match=r"that is not of this package: delete it, or give another job_staging"):
        run(folder, server.url)


def test_a_job_that_another_step_made_meanwhile_is_followed(world):
    server, folder = world
    tape = Tape(server.cluster, "t-fail0", on_complete=leave_outputs)
    with pytest.raises(UserError, match="ended as FAILED"):
        run(folder, server.url)
    tape.change_to("t-ok")
    made = []

    def make_another(number, call):
        if str(call) == "get trainingruntimes" and not made:  # after the look for jobs
            old = job_of(server)
            server.cluster.store.delete(JOBS, NAMESPACE, old["metadata"]["name"])
            metadata = {name: old["metadata"][name] for name in ("name", "namespace", "labels")}
            made.append(server.cluster.store.create(JOBS, {**old, "metadata": metadata, "status": {}}))

    server.on_call = make_another
    assert run(folder, server.url) == {"validation_loss": 0.5}
    assert job_of(server)["metadata"]["uid"] == made[0]["metadata"]["uid"]
    calls = [str(call) for call in server.changing_calls()]
    assert (calls.count("delete trainjobs"), calls.count("create trainjobs")) == (0, 1)


def test_without_trainer_a_sentence_says_so(world):
    world[0].cluster.trainer = False
    refused(world, "", "Kubeflow Trainer is not installed on this cluster. Install Trainer 2.x")


def test_with_the_old_operator_alone_a_sentence_says_so(world):
    world[0].cluster.trainer, world[0].cluster.tf_operator = False, True
    refused(world, "", "Only the old training operator (TFJob) is on it")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"staging": "/elsewhere"}, "below a folder of job_volumes"),
        ({"volumes": {"claim": "data"}}, "expected a whole path"),
        ({"runtime": "Runtime/x"}, "expected the name of a TrainingRuntime, or ClusterTrainingRuntime/NAME"),
        ({"image": ""}, "set job_image"),
        ({"accelerator_count": 1}, "belong together"),
    ],
)
def test_a_setting_that_can_t_work_is_refused(tmp_path, changes, words):
    with pytest.raises(UserError, match=words):
        run(Path(tmp_path), "http://127.0.0.1:1", **changes)
