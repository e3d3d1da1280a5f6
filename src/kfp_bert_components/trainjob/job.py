"""Fine-tuning as a TrainJob of Kubeflow Trainer: the same image, parameters and outputs as in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components.errors import DamagedError, UserError
from kfp_bert_components.jobs.records import clear_results, read_parts
from kfp_bert_components.jobs.remote_jobs import RemoteJob, RemoteJobs, patiently
from kfp_bert_components.jobs.staging import collect, job_key, pinned_base_model, place_of, places, stage
from kfp_bert_components.kubernetes_api import Cluster, ForbiddenError
from kfp_bert_components.leases import Lease
from kfp_bert_components.origin import here
from kfp_bert_components.progress import say
from kfp_bert_components.storage import job_access, open_store
from kfp_bert_components.trainjob.client import TrainJobs
from kfp_bert_components.trainjob.objects import ANCESTOR, job_name, train_job
from kfp_bert_components.trainjob.pods import Pods
from kfp_bert_components.trainjob.runtime import ready_runtime
from kfp_bert_components.trainjob.settings import TrainJobSettings

if TYPE_CHECKING:
    from kfp_bert_components.storage import Store
    from kfp_bert_components.training import TrainingSettings


def run_as_train_job(
    train: Path, validation: Path, model: Path, report: Path, settings: TrainingSettings, job_settings: TrainJobSettings
) -> dict[str, float]:
    """Do what `kfp_bert_components.training.finetune` does, in pods of the cluster that train together.

    The data is copied to the staging folder, and the first worker's log is printed here. The job's outputs are copied
    to where `finetune` would have written them. If there is a job for the same data and settings already, which runs or
    has succeeded, it is used and no other is started. When this process is told to stop (SIGTERM, Ctrl-C), one request
    deletes the job; it is also deleted with this process's pod. A job that is still there ends itself when nobody has
    waited for it for `abandoned_minutes`.

    Args:
        train: Folder of the split to train on.
        validation: Folder of the split by which the best weights are chosen.
        model: Folder for the model bundle.
        report: Path of the HTML report.
        settings: How to train.
        job_settings: Where the job runs, and on how many nodes.

    Returns:
        The metrics that `finetune` returned in the job.

    Raises:
        UserError: The job failed, can't start or was deleted, the cluster refused it, or can't be reached.
    """
    one = job_settings
    settings = pinned_base_model(settings)
    namespace = _namespace(one)
    machines = [one.replicas, one.resources, one.accelerator_type, one.accelerator_count, one.runtime, one.staging]
    key = job_key(train, validation, settings, one.image, ["TrainJob", namespace, *machines])
    place = place_of(one.staging, key)
    store, cluster = open_store(place), Cluster(namespace, one.api_endpoint)
    pods = Pods(cluster, job_name(key), one.replicas)
    client = TrainJobs(cluster, key, one.max_hours, pods)
    lease = Lease(store, one.run, one.abandoned_minutes * 60)
    jobs = RemoteJobs(client, lease, lambda job: not _missing(store, one.replicas))

    def make() -> dict[str, Any] | None:
        part = ready_runtime(cluster, one, client.name)
        if not client.remove():
            return None
        _check_service(cluster, client.name)
        clear_results(store)
        where = {"name": client.name, "namespace": cluster.namespace, "api_endpoint": one.api_endpoint}
        stage(store, place, train, validation, settings, where)
        access = job_access(places(settings, place), cluster.namespace)
        if access.keyless:
            say(
                f"The job gets no keys for {access.keyless}, as others can read what a job is given. They must come "
                "from the role of its service account (job_service_account), or from a secret that its runtime "
                "(job_runtime) refers to."
            )
        return train_job(one, cluster.namespace, key, place, part, access)

    with jobs.cancelled_with_this_process():
        name = jobs.start(make)
        client.own()
        jobs.wait(name, one.poll_seconds, _follow(client, pods, store, one))
    if missing := _missing(store, one.replicas):
        raise UserError(
            f"TrainJob {name} is complete, but {missing} of its {one.replicas} workers left no result, so the runtime "
            f"ran another command than the job's: does it have a job with the label {ANCESTOR}=trainer?"
        )
    return collect(store, model, report)


def _namespace(settings: TrainJobSettings) -> str:
    if found := settings.namespace or here().namespace:
        return found
    raise UserError("This process is in no namespace of a cluster: set job_namespace.")


def _follow(client: TrainJobs, pods: Pods, store: Store, settings: TrainJobSettings) -> Callable[[RemoteJob], None]:
    """What is done after each look at the job: its log is printed, and it is ended where it can come to nothing."""
    started = time.monotonic()

    def follow(job: RemoteJob) -> None:
        there = pods.look()
        failed = _failures(store)
        why = failed[0] if failed else pods.stuck(settings.stuck_seconds)
        if there is not None and not (job.over or job.ending):
            pods.tell_waits(settings.stuck_seconds)
        waited = time.monotonic() - started
        # Trainer writes a status as soon as it has made the JobSet.
        if not (there or job.over or job.detail.get("status")) and waited > settings.stuck_seconds:
            why = why or f"nothing has come of it in {waited:.0f} s: {pods.events()}"
        if why and not job.succeeded:
            if not job.over:
                client.cancel(job.name)
            raise UserError(f"TrainJob {job.name} {'failed' if failed else 'could not start, and was deleted'}: {why}")

    return follow


def _failures(store: Store) -> list[str]:
    """Why workers failed, as far as it can be read: a store out of reach is no reason to end."""
    try:
        return [f"worker {number}: {why}" for number, why in read_parts(store).items() if why]
    except DamagedError:
        raise
    except UserError as error:
        say(f"What the workers have written can't be read now, and is looked at again: {error}")
        return []


def _missing(store: Store, replicas: int) -> int:
    """How many workers have not written their part."""
    parts = read_parts(store)
    return sum(parts.get(number, "nothing") != "" for number in range(replicas))


def _check_service(cluster: Cluster, name: str) -> None:
    """UserError where a Service has the job's name: the workers would not find each other by theirs."""
    try:
        path = f"/api/v1/namespaces/{cluster.namespace}/services/{name}"
        found = patiently(lambda: cluster.find(path), "Kubernetes")
    except ForbiddenError:
        return  # the workers look for their names, too
    if found and not any(one["kind"] == "JobSet" for one in found["metadata"].get("ownerReferences") or ()):
        raise UserError(
            f"There is a Service {name} in the namespace {cluster.namespace}, by whose name the job's workers would "
            "have to find each other: delete it."
        )
