"""The workers of a TrainJob are processes: they are started again, ended, taken over, and train what one would."""

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.leases import Lease, read_lease
from kfp_bert_components.storage import open_store
from kfp_bert_components.training import TrainingSettings, finetune
from kfp_bert_components.trainjob.worker import wait_for_names
from tests.support.kubeflow import Step
from tests.support.kubernetes_resources import by_kind
from tests.support.kubernetes_server import Fault, KubernetesServer
from tests.support.kubernetes_store import PODS
from tests.support.kubernetes_trainer import Trainer, start_worker
from tests.support.splits import write_small_splits
from tests.support.train_jobs import NAMESPACE, run
from tests.support.trainer_tapes import tapes
from tests.support.training import make_base_model, make_splits, weights

JOBS = by_kind("TrainJob")
ABANDONED = 4.0  # seconds
LONGEST = 60.0


def start_stub(command, environment, log):
    """The worker without the training."""
    return start_worker(["python", "-m", "tests.support.stub_worker", command[-1]], environment, log)


@pytest.fixture
def world(tmp_path):
    write_small_splits(tmp_path)
    with KubernetesServer() as server:
        trainer = Trainer(server.cluster, tmp_path, start_stub)
        yield server, trainer, tmp_path
        trainer.stop()


def start_step(world, number=1, abandoned=60.0, **environment):
    """A step as Kubeflow runs it."""
    server, _, folder = world
    return Step(run_step, str(folder), server.url, abandoned, log=str(folder / f"log-{number}"), **environment)


def run_step(folder, url, abandoned, call_seconds=30.0, patience=600.0):
    from functools import partialmethod
    from pathlib import Path
    from unittest.mock import patch

    from kfp_bert_components.kubernetes_api import Cluster

    out = Path(folder)
    with (
        patch.object(Cluster, "__init__", partialmethod(Cluster.__init__, call_seconds=call_seconds)),
        patch("kfp_bert_components.jobs.remote_jobs._PATIENCE", patience),
    ):
        run(out, url, replicas=2, abandoned_minutes=abandoned / 60, run=f"run-{os.getpid()}", poll_seconds=0.05)


def until(holds, seconds=LONGEST):
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it does not come to hold"
        time.sleep(0.02)
    return found


def job_of(server):
    return next(iter(server.cluster.store.list(JOBS)), None)


def store_of(world):
    """The staging folder of the one job, when there is one."""
    return store_in(until(lambda: job_of(world[0])))


def store_in(job):
    return open_store(job["spec"]["trainer"]["command"][-1])


def log_of(world, number=1):
    path = world[2] / f"log-{number}"
    return path.read_text() if path.exists() else ""


def statuses(events):
    """What is shown of a job up to its end: the numbers of its Jobs, and why it ended."""
    shown = []
    for status in events:
        (counts,) = status.get("jobsStatus") or [{"active": 0, "failed": 0, "succeeded": 0}]
        ends = [(one["type"], one["reason"]) for one in status.get("conditions", ())]
        one = (counts["active"], counts["failed"], counts["succeeded"], *ends)
        if not shown or shown[-1] != one:
            shown.append(one)
        if ends:
            break
    return shown


@pytest.mark.parametrize(("scenario", "restarts"), [("t-ok", 0), ("t-fail0", 0), ("t-failjs", 2)])
def test_the_played_trainer_shows_what_was_recorded(world, scenario, restarts):
    server, trainer, folder = world
    label = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    jobset = {"replicatedJobs": [{"name": "node", "template": {"metadata": {"labels": label}}}]}
    if restarts:
        jobset["failurePolicy"] = {"maxRestarts": restarts}
    server.cluster.add("TrainingRuntime", "theirs", spec={"template": {"spec": jobset}})
    seen = []
    server.cluster.store.listeners.append(
        lambda event: seen.append(event.object.get("status", {})) if event.resource == JOBS else None
    )
    with ThreadPoolExecutor(1) as pool:
        step = pool.submit(run, folder, server.url, replicas=2, runtime="theirs")
        store_of(world).write("stop" if scenario == "t-ok" else "fail-1", b"")
        if scenario == "t-ok":
            step.result(LONGEST)
        else:
            with pytest.raises(UserError, match=r"worker 1 ended with exit code 1: .*the reason"):
                step.result(LONGEST)
    recorded = [one[3] for one in tapes()[scenario]["events"] if one[1] == "job"]
    assert set(statuses(seen)) == set(statuses(recorded))
    assert statuses(seen)[-1] == statuses(recorded)[-1]
    assert trainer.attempts[job_of(server)["metadata"]["uid"]] == restarts + 1


def test_the_log_of_the_first_worker_is_printed_once_and_a_killed_worker_is_started_again(world):
    server, trainer, _ = world
    step = start_step(world)
    until(lambda: "worker 0 of 2" in log_of(world))
    os.killpg(trainer.processes[1].pid, signal.SIGKILL)
    until(lambda: "All workers are started again (attempt 2)." in log_of(world))
    until(lambda: log_of(world).count("worker 0 of 2") == 2)
    store_of(world).write("stop", b"")
    assert step.wait(LONGEST) == 0
    lines = log_of(world).splitlines()
    assert lines.count("worker 0 of 2") == 2
    # Its last words, if it was not killed before them.
    assert [line for line in lines if line.startswith("Worker 1 ended with exit code 137: ")]
    assert [str(call) for call in server.changing_calls()].count("create trainjobs") == 1


def test_a_user_s_error_ends_the_job_at_once_with_its_sentence(world):
    server, trainer, _ = world
    step = start_step(world)
    store_of(world).write("user-error-1", b"")
    assert step.wait(LONGEST) == 1
    assert "failed: worker 1: The split is damaged: fetch it again." in log_of(world)
    assert job_of(server) is None
    assert max(trainer.attempts.values()) <= 2


def test_sigterm_on_kubeflow_deletes_the_job_by_one_request(world):
    server, trainer, _ = world
    step = start_step(world)
    until(lambda: "worker 0 of 2" in log_of(world))
    calls, job = len(server.calls), job_of(server)
    step.terminate()
    until(lambda: job_of(server) is None)
    after = [str(call) for call in server.calls[calls:]]
    assert after.count("delete trainjobs") == 1
    assert not read_lease(store_in(job))[0].ended  # it is not the lease that ended it
    assert set(after) <= {"get trainjobs", "list pods", "get pods/log", "delete trainjobs"}
    until(lambda: all(process.poll() is not None for process in trainer.processes.values()))


def test_a_killed_step_is_taken_over_by_the_next_one(world):
    server, _, _ = world
    step = start_step(world)
    until(lambda: "worker 0 of 2" in log_of(world))
    step.kill()
    again = start_step(world, 2, ABANDONED)
    try:
        until(lambda: "Continuing with job" in log_of(world, 2))
        time.sleep(ABANDONED)  # somebody waits: it does not end
        assert job_of(server) is not None
        store_of(world).write("stop", b"")
        assert again.wait(LONGEST) == 0
    finally:
        again.kill()
    assert [str(call) for call in server.changing_calls()].count("create trainjobs") == 1
    assert "waits for it too, or did until now." in log_of(world, 2)


def test_a_job_that_nobody_waits_for_writes_a_checkpoint_and_deletes_itself(world):
    server, trainer, _ = world
    step = start_step(world, 1, ABANDONED)
    until(lambda: "worker 0 of 2" in log_of(world))
    store = store_of(world)
    step.kill()
    until(lambda: job_of(server) is None)
    until(lambda: all(process.poll() is not None for process in trainer.processes.values()))
    assert store.exists("checkpoint")
    assert "Nobody has waited for this job" in read_lease(store)[0].ended


def test_a_job_that_may_not_delete_itself_ends_all_the_same(world):
    server, trainer, _ = world
    step = start_step(world, 1, ABANDONED)
    until(lambda: "worker 0 of 2" in log_of(world))
    step.kill()
    server.rules = []
    until(lambda: (job_of(server)["status"].get("conditions") or [{}])[0].get("type") == "Failed")
    assert all(process.poll() is not None for process in trainer.processes.values())


def test_a_worker_waits_for_the_others_as_long_as_somebody_waits_for_the_job(tmp_path):
    place = str(tmp_path / "staging")
    lease = Lease(open_store(place), abandoned_seconds=1.0)
    lease.take()
    environment = {**os.environ, "KFP_BERT_WORKERS": "127.0.0.1:1,worker-1.invalid:1"}
    log = tmp_path / "log"
    process = start_worker(["python", "-m", "kfp_bert_components.trainjob.worker", place], environment, log)
    try:
        assert process.wait(LONGEST) == 143
    finally:
        process.kill()
        process.wait()
    assert "Nobody has waited for this job" in log.read_text()
    assert read_lease(open_store(place))[0].ended


def test_a_worker_says_for_which_other_one_it_waits(monkeypatch, capsys):
    left = ["Name or service not known"] * 2

    def look_up(host, port):
        if host == "job-node-0-1.job" and left:
            raise socket.gaierror(socket.EAI_NONAME, left.pop())

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    wait_for_names(["job-node-0-0.job:2222", "job-node-0-1.job:2222"], 0.5)
    said = capsys.readouterr().out
    assert said.count("Waiting for the worker job-node-0-1.job (Name or service not known)") == 1


@pytest.mark.parametrize("effect", ["before", "after", "drop"])
def test_a_lost_answer_does_not_start_a_second_job(world, effect):
    server, _, folder = world
    server.faults.append(Fault("create", "trainjobs", effect))
    with ThreadPoolExecutor(1) as pool:
        step = pool.submit(run, folder, server.url, replicas=2)
        store_of(world).write("stop", b"")
        assert step.result(LONGEST) == {"validation_loss": 0.5}
    assert len(server.cluster.store.list(JOBS)) == 1


def test_the_pod_of_the_step_owns_the_job(world, monkeypatch):
    server, _, _ = world
    named = {"KFP_POD_NAME": "step-1", "TRACESTATE": f"workflow={NAMESPACE}/flow"}
    step = start_step(world, KFP_POD_UID="uid-1", **named)
    until(lambda: "worker 0 of 2" in log_of(world))
    step.kill()
    (owner,) = job_of(server)["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "v1", "kind": "Pod", "name": "step-1", "uid": "uid-1"}
    again = start_step(world, 2, KFP_POD_UID="uid-2", **named)
    try:
        owners = until(lambda: len(found := job_of(server)["metadata"]["ownerReferences"]) == 2 and found)
        assert {one["uid"] for one in owners} == {"uid-1", "uid-2"}
        store_of(world).write("stop", b"")
        assert again.wait(LONGEST) == 0
    finally:
        again.kill()


@pytest.mark.long
def test_two_workers_of_which_one_is_killed_end_with_the_weights_of_one_process(tmp_path):
    make_splits(tmp_path, rows=90)
    base = str(make_base_model(tmp_path / "base"))
    known = {"base_model": base, "epochs": 6, "batch_size": 16, "max_length": 32, "dropout": 0.0, "learning_rate": 1e-3}
    settings = TrainingSettings(**known, epsilon=1e-4, deterministic=True, checkpoint_steps=1)
    one = tmp_path / "one"
    alone = finetune(tmp_path / "train", tmp_path / "validation", one / "model", one / "report.html", settings)
    with KubernetesServer() as server, ThreadPoolExecutor(1) as pool:
        trainer = Trainer(server.cluster, tmp_path)
        try:
            step = pool.submit(run, tmp_path, server.url, replace(settings, checkpoint_dir=""), replicas=2)
            store = open_store(until(lambda: job_of(server))["spec"]["trainer"]["command"][-1])
            until(lambda: [one for one in store.list("checkpoints/") if one.name.endswith(".safetensors")], 300)
            os.killpg(trainer.processes[1].pid, signal.SIGKILL)
            found = step.result(400)
        finally:
            trainer.stop()
        pods = server.cluster.store.list(PODS)
    assert max(trainer.attempts.values()) == 2
    assert [one["status"]["phase"] for one in pods] == ["Succeeded", "Succeeded"]
    assert found["validation_loss"] == pytest.approx(alone["validation_loss"], abs=1e-4)
    ours, theirs = weights(tmp_path), weights(one)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, atol=2e-5, err_msg=name)
