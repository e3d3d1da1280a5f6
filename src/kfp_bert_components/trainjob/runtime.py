"""The TrainingRuntime of a job: made where there is none, and refused where it would not run the job's command."""

from __future__ import annotations

from typing import Any

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.jobs.remote_jobs import patiently
from kfp_bert_components.kubernetes_api import Cluster, ForbiddenError
from kfp_bert_components.progress import say
from kfp_bert_components.trainjob.objects import (
    ANCESTOR,
    API,
    GROUP,
    NODE,
    RUNTIME,
    VERSION,
    is_too_long,
    longest_pod_name,
    our_runtime,
    runtime_reference,
)
from kfp_bert_components.trainjob.settings import TrainJobSettings

RIGHTS = "examples/trainjob-rights.yaml of the source has the rights that are needed"


def ready_runtime(cluster: Cluster, settings: TrainJobSettings, name: str) -> str:
    """See to it that there is a runtime that runs a job's command, and return the name of its job that does.

    Args:
        cluster: The API.
        settings: Of the job.
        name: The job's name.

    Raises:
        UserError: Trainer is not installed, there is no runtime and this account may not make one, or it would not run
            the command.
    """
    _check_installed(cluster)
    reference = runtime_reference(settings)
    try:
        found = patiently(lambda: _read(cluster, reference), "Kubernetes")
        if found is None and not settings.runtime:
            found = patiently(lambda: _make(cluster, reference), "Kubernetes")
    except ForbiddenError as error:
        if not settings.runtime:
            raise UserError(
                f"{str(error).rstrip('.')}. Without that right somebody else must make the TrainingRuntime {RUNTIME} "
                f"once: {RIGHTS}, and the runtime; or name one that is there by job_runtime."
            ) from None
        say(f"The {reference['kind']} {reference['name']} can't be read, and is taken as right: {error}")
        return NODE
    shown = f"The {reference['kind']} {reference['name']}"
    if found is None:
        raise UserError(f"{shown} is not there: create it, or leave job_runtime empty for one of our own.")
    part = _part(found, shown)
    if is_too_long(longest_pod_name(name, part, settings.replicas)):
        raise UserError(f"{shown} calls its job {part!r}: pods would get names of more than 63 letters. Shorten it.")
    return part


def _check_installed(cluster: Cluster) -> None:
    group = patiently(lambda: cluster.find(f"/apis/{GROUP}"), "Kubernetes")
    versions = [one["version"] for one in (group or {}).get("versions", ())]
    if VERSION in versions:
        return
    if versions:
        raise UserError(
            f"Kubeflow Trainer on this cluster speaks {GROUP}/{', '.join(versions)}, and this package {API}: install "
            "Trainer 2.x, or a newer version of this package."
        )
    old = patiently(lambda: cluster.find("/apis/kubeflow.org"), "Kubernetes")
    before = "Only the old training operator (TFJob) is on it, which is not used here. " if old else ""
    raise UserError(
        f"Kubeflow Trainer is not installed on this cluster. {before}Install Trainer 2.x with JobSet, or train in the "
        "step itself with run_on=pod."
    )


def _read(cluster: Cluster, reference: dict[str, str]) -> dict[str, Any] | None:
    if reference["kind"] == "ClusterTrainingRuntime":
        return cluster.find(f"/apis/{API}/clustertrainingruntimes/{reference['name']}")
    return cluster.find(f"/apis/{API}/namespaces/{cluster.namespace}/trainingruntimes/{reference['name']}")


def _make(cluster: Cluster, reference: dict[str, str]) -> dict[str, Any] | None:
    """Our runtime, made now; one that another step made meanwhile is as good."""
    if found := _read(cluster, reference):
        return found
    runtime = our_runtime(cluster.namespace)
    path = f"/apis/{API}/namespaces/{cluster.namespace}/trainingruntimes"
    try:
        cluster.create(path, runtime)
    except NotFoundError:
        raise UserError(
            f"There is no namespace {cluster.namespace}: create it, or give another job_namespace."
        ) from None
    say(f"Made the TrainingRuntime {RUNTIME}.")
    return runtime


def _part(runtime: dict[str, Any], shown: str) -> str:
    """The name of the job that runs a TrainJob's command."""
    for job in runtime["spec"]["template"]["spec"].get("replicatedJobs") or ():
        template = job.get("template", {})
        if template.get("metadata", {}).get("labels", {}).get(ANCESTOR) == "trainer":
            pod = template.get("spec", {}).get("template", {}).get("spec", {})
            if pod.get("restartPolicy") == "OnFailure":
                say(f"warning: {shown} restarts OnFailure: the log of a worker that fails is lost. Never keeps it.")
            return str(job["name"])
    raise UserError(
        f"{shown} has no job with the label {ANCESTOR}=trainer: it would run a command of its own, and end as if it "
        "had trained. Give its job that label."
    )
