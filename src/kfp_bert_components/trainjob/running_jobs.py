"""Our TrainJobs in a namespace that are not over."""

from __future__ import annotations

from datetime import datetime
from functools import cache, partial
from typing import Any

from kfp_bert_components.errors import UserError
from kfp_bert_components.jobs.labels import JOB_LABEL, RUN_LABEL
from kfp_bert_components.jobs.remote_jobs import patiently
from kfp_bert_components.jobs.running_jobs import JobPlace, RunningJob, with_lease
from kfp_bert_components.kubernetes_api import Cluster
from kfp_bert_components.trainjob.objects import API


def jobs_of_namespace(namespace: str, api_endpoint: str = "") -> JobPlace:
    """The TrainJobs of a namespace; `api_endpoint` is another address of the API, for tests.

    It needs the rights to list and to delete them.
    """
    cluster = cache(partial(Cluster, namespace, api_endpoint))
    return JobPlace(f"--namespace {namespace}", lambda: _running(cluster()), lambda name: _cancel(cluster(), name))


def _running(cluster: Cluster) -> list[RunningJob]:
    found = patiently(lambda: cluster.get(_path(cluster), labelSelector=JOB_LABEL), "Kubernetes")
    return sorted((_seen(job) for job in found["items"] if not _is_over(job)), key=lambda job: job.created)


def _cancel(cluster: Cluster, name: str) -> None:
    path = f"{_path(cluster)}/{name}"
    job = patiently(lambda: cluster.find(path), "Kubernetes")
    if job is None or JOB_LABEL not in job["metadata"].get("labels", {}):
        raise UserError(
            f"{name} is no TrainJob of ours in the namespace {cluster.namespace}: give a name that `kfp-bert jobs list "
            f"--namespace {cluster.namespace}` shows."
        )
    patiently(lambda: cluster.delete(job, path), "Kubernetes")


def _path(cluster: Cluster) -> str:
    return f"/apis/{API}/namespaces/{cluster.namespace}/trainjobs"


def _is_over(job: dict[str, Any]) -> bool:
    conditions = job.get("status", {}).get("conditions") or ()
    return any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions)


def _seen(job: dict[str, Any]) -> RunningJob:
    metadata, command = job["metadata"], job["spec"].get("trainer", {}).get("command") or [""]
    state = "cancelling" if metadata.get("deletionTimestamp") else "running"
    created, run = datetime.fromisoformat(metadata["creationTimestamp"]), metadata["labels"].get(RUN_LABEL, "")
    return with_lease(RunningJob(metadata["name"], state, created, run, "", started_by=run, place=command[-1]))
