"""Kubeflow Trainer, JobSet and the node of the fake cluster: each worker of a TrainJob is a process of this machine.

The status that it writes is held to the recordings (tests/trainjob/test_workers.py). No recording shows a worker that
works after a restart; that all pods are made anew then, as they are before the last restart, is taken from t-failjs.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.kubernetes_cluster import Cluster
from tests.support.kubernetes_resources import Resource, by_kind
from tests.support.kubernetes_store import PODS, SERVICES, ApiError, Event, Object, suffix
from tests.support.trainer_tapes import log_answer

TRAIN_JOBS, RUNTIMES = by_kind("TrainJob"), by_kind("TrainingRuntime")
ANCESTOR = "trainer.kubeflow.org/trainjob-ancestor-step"
DENIED = 'admission webhook "validator.trainjob.trainer.kubeflow.org" denied the request: '
GRACE = 1.0  # seconds between SIGTERM and SIGKILL


def start_worker(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """The command of a worker as a process; `python` is this one."""
    command = [sys.executable if one == "python" else one for one in command]
    with log.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)


class Trainer:
    """Runs the TrainJobs of a cluster as processes.

    Args:
        cluster: The cluster, in which nothing else makes pods.
        folder: For their logs.
        start: Starts a worker.

    Attributes:
        processes: Those of the attempt that runs, by the worker's number.
        attempts: How often the workers of a job were started, by the job's uid.
    """

    def __init__(self, cluster: Cluster, folder: Path, start: Callable[..., Any] = start_worker) -> None:
        self._cluster, self._store, self._folder, self._start = cluster, cluster.store, folder, start
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.attempts: dict[str, int] = {}
        self._logs: dict[str, Path] = {}
        cluster.kubelet.on_event = lambda event: None  # type: ignore[method-assign]
        cluster.log = self._log  # type: ignore[method-assign]
        self._validate, cluster.validate = cluster.validate, self._check  # type: ignore[method-assign]
        self._store.listeners.append(self._on_event)

    def stop(self) -> None:
        """End all processes."""
        for process in list(self.processes.values()):
            _kill(process)

    def _check(self, resource: Resource, new: Object, old: Object | None) -> Object:
        if resource == TRAIN_JOBS and old is None:
            reference = {"kind": "ClusterTrainingRuntime", **new["spec"]["runtimeRef"]}
            kind, name = reference["kind"], reference["name"]
            where = new["metadata"]["namespace"] if kind == "TrainingRuntime" else ""
            if not self._store.find(by_kind(kind), where, name):
                raise ApiError(403, "Forbidden", f'{DENIED}{kind}.trainer.kubeflow.org "{name}" not found')
        return self._validate(resource, new, old)

    def _on_event(self, event: Event) -> None:
        if event.resource == TRAIN_JOBS and event.type == "ADDED":
            threading.Thread(target=self._run, args=(event.object,), daemon=True).start()

    def _run(self, job: Object) -> None:
        metadata = job["metadata"]
        runtime = self._store.get(RUNTIMES, metadata["namespace"], job["spec"]["runtimeRef"]["name"])
        jobset = runtime["spec"]["template"]["spec"]
        part = next(one for one in jobset["replicatedJobs"] if ANCESTOR in one["template"]["metadata"]["labels"])
        self._store.create(SERVICES, {"metadata": _owned(job, metadata["name"]), "spec": {"clusterIP": "None"}})
        restarts = jobset.get("failurePolicy", {}).get("maxRestarts", 0)
        for attempt in range(restarts + 1):
            self.attempts[metadata["uid"]] = attempt + 1
            failed = self._attempt(job, part["name"], attempt, attempt < restarts)
            if failed is None or not failed:
                break
            if attempt < restarts:
                self._remove_pods(job)
        if failed is None:  # it was deleted
            self._remove_pods(job)
            self._store.remove(SERVICES, metadata["namespace"], metadata["name"])
        elif failed:
            first = f"(first failed job: {metadata['name']}-{part['name']}-0)"
            why = ("FailedJobs", f"jobset failed due to one or more job failures {first}")
            if restarts:
                why = ("ReachedMaxRestarts", f"jobset failed due to reaching max number of restarts {first}")
            self._set_status(job, 0, 1, 0, ("Failed", *why))
        else:
            self._set_status(job, 0, 0, 1, ("Complete", "AllJobsCompleted", "jobset completed successfully"))

    def _attempt(self, job: Object, part: str, attempt: int, again: bool) -> bool | None:
        """Whether a worker failed, in which case all have ended; None where the job is deleted."""
        self._set_status(job, 0, 0, 0)
        count = job["spec"]["trainer"]["numNodes"]
        names = [f"{job['metadata']['name']}-{part}-0-{number}" for number in range(count)]
        addresses = [_free_address() for _ in names]
        pods = [self._make_pod(job, name, number, attempt) for number, name in enumerate(names)]
        self._set_status(job, 1, 0, 0)
        for number, pod in enumerate(pods):
            env = {one["name"]: one["value"] for one in job["spec"]["trainer"]["env"]}
            wanted = env["KFP_BERT_WORKERS"].split(",")
            assert [one.partition(".")[0] for one in wanted] == names  # what the cluster's DNS would find
            env |= {"KFP_BERT_WORKERS": ",".join(addresses), "JOB_COMPLETION_INDEX": str(number)}
            log = self._folder / f"{pod['metadata']['name']}.log"
            self._logs[pod["metadata"]["name"]] = log
            self.processes[number] = self._start(job["spec"]["trainer"]["command"], {**os.environ, **env}, log)
            self._set_pod(pod, "Running", {"running": {"startedAt": _stamp()}})
        ended: set[int] = set()
        while len(ended) < count:
            if not self._is_there(job):
                self._end_others(pods, ended)
                return None
            for number in set(range(count)) - ended:
                code = self.processes[number].poll()
                if code is None:
                    continue
                ended.add(number)
                self._note_end(pods[number], code)
                if code:
                    self._set_status(job, 0, 0, 0)
                    self._end_others(pods, ended)
                    if again:
                        self._set_status(job, 0, 1, 0)
                    return True
            time.sleep(0.02)
        return False

    def _end_others(self, pods: list[Object], ended: set[int]) -> None:
        left = [number for number in range(len(pods)) if number not in ended]
        for number in left:
            self._store.delete(PODS, pods[number]["metadata"]["namespace"], pods[number]["metadata"]["name"], grace=30)
            with suppress(ProcessLookupError):
                os.killpg(self.processes[number].pid, signal.SIGTERM)
        until = time.monotonic() + GRACE
        while time.monotonic() < until and any(self.processes[number].poll() is None for number in left):
            time.sleep(0.02)
        for number in left:
            _kill(self.processes[number])
            self._store.remove(PODS, pods[number]["metadata"]["namespace"], pods[number]["metadata"]["name"])

    def _note_end(self, pod: Object, code: int) -> None:
        state = {"exitCode": code if code >= 0 else 128 - code, "reason": "Error" if code else "Completed"}
        self._set_pod(pod, "Failed" if code else "Succeeded", {"terminated": {**state, "finishedAt": _stamp()}})

    def _is_there(self, job: Object) -> bool:
        now = self._store.find(TRAIN_JOBS, job["metadata"]["namespace"], job["metadata"]["name"])
        return now is not None and now["metadata"]["uid"] == job["metadata"]["uid"]

    def _make_pod(self, job: Object, name: str, number: int, attempt: int) -> Object:
        labels = {"batch.kubernetes.io/job-completion-index": str(number)}
        labels |= {"jobset.sigs.k8s.io/jobset-name": job["metadata"]["name"]}
        labels |= {"jobset.sigs.k8s.io/restart-attempt": str(attempt)}
        made = {**_owned(job, f"{name}-{suffix()}"), "labels": labels}
        return self._store.create(PODS, {"metadata": made, "spec": {"containers": [{"name": "node"}]}})

    def _set_pod(self, pod: Object, phase: str, state: Object) -> None:
        where = PODS, pod["metadata"]["namespace"], pod["metadata"]["name"]
        with suppress(ApiError):
            self._store.set_status(*where, {"phase": phase, "containerStatuses": [{"name": "node", "state": state}]})

    def _set_status(self, job: Object, active: int, failed: int, succeeded: int, condition: Any = ()) -> None:
        counts = {"active": active, "failed": failed, "succeeded": succeeded, "ready": 0, "suspended": 0}
        status: Object = {"jobsStatus": [{"name": "node", **counts}]}
        if condition:
            known = dict(zip(("type", "reason", "message"), condition, strict=True))
            status["conditions"] = [{**known, "status": "True", "lastTransitionTime": _stamp()}]
        with suppress(ApiError):
            if self._is_there(job):
                self._store.set_status(TRAIN_JOBS, job["metadata"]["namespace"], job["metadata"]["name"], status)

    def _remove_pods(self, job: Object) -> None:
        for pod in self._store.list(PODS, job["metadata"]["namespace"]):
            if job["metadata"]["uid"] in [one["uid"] for one in pod["metadata"]["ownerReferences"]]:
                self._store.remove(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _log(self, namespace: str, name: str, query: dict[str, str]) -> str:
        pod = self._store.get(PODS, namespace, name)
        path = self._logs.get(name)
        text = path.read_text() if path and path.exists() else ""
        whole = text[: text.rfind("\n") + 1].splitlines()
        # A line a second, so that only what is new is asked for.
        base = datetime(2026, 11, 28, tzinfo=UTC).timestamp()
        moments = [datetime.fromtimestamp(base + number, UTC) for number in range(len(whole))]
        lines = [(f"{at:%Y-%m-%dT%H:%M:%S}.000000001Z", line) for at, line in zip(moments, whole, strict=True)]
        return log_answer(pod, lines, query)


def _owned(job: Object, name: str) -> Object:
    owner = {"kind": "JobSet", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"], "apiVersion": "jobset"}
    return {"name": name, "namespace": job["metadata"]["namespace"], "ownerReferences": [owner]}


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def _stamp() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
