"""What is written to the cluster: the TrainJob, and the TrainingRuntime where there is none."""

from __future__ import annotations

import os
from typing import Any

from kfp_bert_components.jobs.labels import job_labels
from kfp_bert_components.origin import here
from kfp_bert_components.storage import JobAccess
from kfp_bert_components.trainjob.settings import TrainJobSettings

GROUP, VERSION = "trainer.kubeflow.org", "v1alpha1"
API = f"{GROUP}/{VERSION}"
# By this label a runtime says which of its jobs runs a TrainJob's command, on as many nodes as it asks for. Without it
# both are ignored, and the job ends as complete.
ANCESTOR = "trainer.kubeflow.org/trainjob-ancestor-step"
NODE = "node"  # the name that Trainer wants of the container, and ours of the job
RUNTIME = "kfp-bert"
WORKERS = "KFP_BERT_WORKERS"  # the workers' addresses, in the order of their numbers
_PORT = 2222
_NAME_LENGTH = 63


def job_name(key: str) -> str:
    """The name of the job with a key. It is the same in every step that needs that job."""
    return f"kfp-bert-{key[:24]}"


def longest_pod_name(name: str, part: str, replicas: int) -> str:
    """The longest name that is made of a job's. With more than 63 letters the job is accepted and never runs."""
    return f"{name}-{part}-0-{replicas - 1}-xxxxx"


def is_too_long(name: str) -> bool:
    """Whether a pod can't be called so."""
    return len(name) > _NAME_LENGTH


def workers(name: str, part: str, replicas: int) -> list[str]:
    """The addresses of the workers, by JobSet's names of its pods.

    Args:
        name: The TrainJob's name, which is that of the Service, too.
        part: The name of the runtime's job that trains.
        replicas: Number of workers.
    """
    return [f"{name}-{part}-0-{number}.{name}:{_PORT}" for number in range(replicas)]


def train_job(
    settings: TrainJobSettings, namespace: str, key: str, place: str, part: str, access: JobAccess
) -> dict[str, Any]:
    """A TrainJob that works on the staging folder `place`.

    Args:
        settings: Where it runs.
        namespace: The namespace.
        key: The job's key.
        place: The staging folder.
        part: The name of the runtime's job that trains.
        access: How the job reaches its buckets.
    """
    name = job_name(key)
    variables = {**access.variables, WORKERS: ",".join(workers(name, part, settings.replicas))}
    secrets = {one: {"secretKeyRef": {"name": secret, "key": key}} for one, (secret, key) in access.secrets.items()}
    trainer: dict[str, Any] = {
        "image": settings.image,
        "command": ["python", "-m", "kfp_bert_components.trainjob.worker", place],
        "env": [
            *({"name": one, "value": value} for one, value in variables.items()),
            *({"name": one, "valueFrom": value} for one, value in secrets.items()),
        ],
        "numNodes": settings.replicas,
    }
    asked = dict(settings.resources)
    if settings.accelerator_type:
        asked[settings.accelerator_type] = str(settings.accelerator_count)
    if asked:
        trainer["resourcesPerNode"] = {"requests": asked, "limits": asked}
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "labels": job_labels(settings.labels, key, settings.run),
    }
    if owner := waiting_pod(namespace):
        metadata["ownerReferences"] = [owner]
    spec = {
        "runtimeRef": runtime_reference(settings),
        "activeDeadlineSeconds": int(settings.max_hours * 3600),
        "trainer": trainer,
    }
    if pod := _pod_changes(settings):
        job = {"name": part, "template": {"spec": {"template": {"spec": pod}}}}
        changes = {"template": {"spec": {"replicatedJobs": [job]}}}
        spec["runtimePatches"] = [{"manager": "kfp-bert.components/finetune-bert", "trainingRuntimeSpec": changes}]
    return {"apiVersion": API, "kind": "TrainJob", "metadata": metadata, "spec": spec}


def waiting_pod(namespace: str) -> dict[str, Any] | None:
    """The pod of this step as the owner of an object in a namespace, with which the object goes; None elsewhere."""
    name, uid, origin = os.environ.get("KFP_POD_NAME"), os.environ.get("KFP_POD_UID"), here()
    if not (name and uid) or origin.namespace != namespace:  # an owner in another namespace counts as one that is gone
        return None
    return {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}


def runtime_reference(settings: TrainJobSettings) -> dict[str, str]:
    """The runtime that is used; a reference without a kind would be to a ClusterTrainingRuntime."""
    kind, _, name = settings.runtime.rpartition("/")
    return {"apiGroup": GROUP, "kind": kind or "TrainingRuntime", "name": name or RUNTIME}


def our_runtime(namespace: str) -> dict[str, Any]:
    """The runtime for all our jobs: they bring image, command and the number of nodes.

    A worker that fails ends the job on all nodes, as the others can't go on without it, and all are started again, up
    to three times. OnFailure would delete the pod that failed, with its log.
    """
    container = {"name": NODE, "image": "kfp-bert-components/python-tensorflow", "command": ["false"]}
    pod = {"restartPolicy": "Never", "containers": [container]}
    job = {
        "name": NODE,
        "template": {
            "metadata": {"labels": {ANCESTOR: "trainer"}},
            "spec": {"backoffLimit": 0, "template": {"spec": pod}},
        },
    }
    jobs = {"failurePolicy": {"maxRestarts": 3, "restartStrategy": "Recreate"}, "replicatedJobs": [job]}
    return {
        "apiVersion": API,
        "kind": "TrainingRuntime",
        "metadata": {"name": RUNTIME, "namespace": namespace},
        "spec": {"mlPolicy": {"numNodes": 1}, "template": {"spec": jobs}},
    }


def _pod_changes(settings: TrainJobSettings) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if settings.service_account:
        changes["serviceAccountName"] = settings.service_account
    if settings.volumes:
        names = {claim: f"volume-{number}" for number, claim in enumerate(settings.volumes)}
        mounts = [{"name": names[claim], "mountPath": folder} for claim, folder in settings.volumes.items()]
        changes["volumes"] = [
            {"name": name, "persistentVolumeClaim": {"claimName": claim}} for claim, name in names.items()
        ]
        changes["containers"] = [{"name": NODE, "volumeMounts": mounts}]
    return changes
