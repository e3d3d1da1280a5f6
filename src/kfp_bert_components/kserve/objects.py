"""The InferenceService that serves a version: its fields that are ours."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import yaml

from kfp_bert_components.deployment import RolloutError
from kfp_bert_components.errors import UserError
from kfp_bert_components.kserve.settings import IMAGE, KServeSettings

KIND = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
FORMAT = "kfp-bert"  # the model format of a ServingRuntime with our server
MODE = "serving.kserve.io/deploymentMode"  # the annotation
PORT = 8080
STAMP = "KFP_BERT_ROLLOUT"  # on the container, the version and its settings
SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"  # on the pods, the address of their model
_PERCENT = "canaryTrafficPercent"
_SCHEMES = ("gs://", "s3://", "pvc://")
# KServe's own probe asks whether the port is open, which it is before the model is loaded.
_PROBE: dict[str, Any] = {
    "httpGet": {"path": "/healthz", "port": PORT},
    "periodSeconds": 2,
    "timeoutSeconds": 2,
    "failureThreshold": 3,
}


def model_address(settings: KServeSettings, registry: str, version: int) -> str:
    """Where the cluster finds the bundle of a version.

    Raises:
        UserError: No storage initializer of KServe reads that address.
    """
    base = (settings.storage or registry).rstrip("/")
    if base.startswith("minio://"):
        base = f"s3://{base.removeprefix('minio://')}"  # the same objects, by the scheme that KServe knows
    if not base.startswith(_SCHEMES):
        what = f"storage is {base!r}" if settings.storage else f"The registry is {base!r}, which KServe can't read"
        raise UserError(
            f"{what}: give the registry's address in the cluster as storage, gs://BUCKET/FOLDER, s3://BUCKET/FOLDER or "
            "pvc://CLAIM/FOLDER."
        )
    return f"{base}/versions/{version}/bundle"


def service(
    settings: KServeSettings,
    name: str,
    version: int,
    registry: str,
    fingerprint: str,
    owner: dict[str, str],
    replicas: tuple[int, int],
) -> dict[str, Any]:
    """An InferenceService.

    Args:
        settings: The kind of pods.
        name: Its name, which requests give the model, too.
        version: The registry's version that it serves.
        registry: URI of the registry.
        fingerprint: Of the version's bundle, so that pods start anew where another one has the same address.
        owner: The labels that say whose it is.
        replicas: Fewest and most pods.

    Raises:
        UserError: No storage initializer of KServe reads the model's address.
    """
    address = model_address(settings, registry, version)
    stamp = {"name": STAMP, "value": f"{version}-{fingerprint[:16]}-{settings.pod_shape()}"}
    predictor: dict[str, Any] = {
        "minReplicas": replicas[0],
        "maxReplicas": replicas[1],
        **({"serviceAccountName": settings.service_account} if settings.service_account else {}),
        **({"nodeSelector": settings.node_selector} if settings.node_selector else {}),
        **({"tolerations": settings.tolerations} if settings.tolerations else {}),
    }
    if settings.runtime:
        predictor["model"] = {
            "modelFormat": {"name": FORMAT},
            "runtime": settings.runtime,
            "storageUri": address,
            "resources": _resources(settings),
            "readinessProbe": _PROBE,
            "env": [stamp],
        }
    else:
        predictor["volumes"] = [{"name": "scratch", "emptyDir": {}}]
        predictor["containers"] = [_container(settings, name, [{"name": "STORAGE_URI", "value": address}, stamp])]
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": settings.namespace,
        "labels": {**settings.labels, **owner},
    }
    if settings.annotations:
        metadata["annotations"] = settings.annotations
    return {**KIND, "metadata": metadata, "spec": {"predictor": predictor}}


def _container(settings: KServeSettings, name: str, environment: list[dict[str, str]]) -> dict[str, Any]:
    arguments = ["/mnt/models", "--host", "0.0.0.0", "--port", str(PORT), "--model-name", name]
    return {
        "name": "kserve-container",
        "image": settings.image or IMAGE,
        "command": ["kfp-bert", "serve"],
        "args": arguments,
        "env": environment,
        "ports": [{"containerPort": PORT, "protocol": "TCP"}],
        "readinessProbe": _PROBE,
        "resources": _resources(settings),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
    }


def _resources(settings: KServeSettings) -> dict[str, Any]:
    devices = {settings.accelerator: str(settings.accelerator_count)} if settings.accelerator else {}
    # KServe sets limits that are absent to 1 CPU and 2Gi, which may be less than what is asked for.
    limits = {
        "cpu": settings.cpu_limit or settings.cpu,
        "memory": settings.memory_limit or settings.memory,
        **devices,
    }
    return {"requests": {"cpu": settings.cpu, "memory": settings.memory, **devices}, "limits": limits}


def address_of(found: dict[str, Any]) -> str:
    """The address of the model that an InferenceService is to serve; "" where it names none."""
    predictor = found.get("spec", {}).get("predictor", {})
    if "model" in predictor:
        return str(predictor["model"].get("storageUri", ""))
    return _variable(predictor.get("containers"), "STORAGE_URI")


def stamp_of(found: dict[str, Any]) -> str:
    """The version and the settings of an InferenceService, or of the template of a Deployment; "" where it has none."""
    spec = found.get("spec", {})
    predictor = spec.get("predictor", spec)
    return _variable([predictor["model"]] if "model" in predictor else predictor.get("containers"), STAMP)


def _variable(containers: Iterable[dict[str, Any]] | None, name: str) -> str:
    variables = [one for container in containers or () for one in container.get("env") or ()]
    return next((str(one.get("value")) for one in variables if one.get("name") == name), "")


def percent_of(found: dict[str, Any]) -> int:
    """The share of the requests that the newest revision of an InferenceService is to get; all without the field."""
    percent = found["spec"]["predictor"].get(_PERCENT)
    return 100 if percent is None else int(percent)


def with_percent(found: dict[str, Any], percent: int | None) -> dict[str, Any]:
    """An InferenceService with another share for its newest revision; None: without the field."""
    predictor = {key: value for key, value in found["spec"]["predictor"].items() if key != _PERCENT}
    if percent is not None:
        predictor[_PERCENT] = percent
    return {**found, "spec": {**found["spec"], "predictor": predictor}}


def form_of(found: dict[str, Any]) -> str:
    """How its predictor is given: "containers", or "model", which the older forms become."""
    return "containers" if "containers" in found.get("spec", {}).get("predictor", {}) else "model"


def kept(found: dict[str, Any]) -> dict[str, Any]:
    """What must be written to make an InferenceService again what it is now."""
    metadata = found["metadata"]
    labels, annotations = metadata.get("labels"), metadata.get("annotations")
    return {
        **KIND,
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            **({"labels": labels} if labels else {}),
            **({"annotations": annotations} if annotations else {}),
        },
        "spec": found["spec"],
    }


def is_same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether an InferenceService has all fields of another one with their values; what others added does not matter.

    Nor does the annotation of the mode: KServe writes another name of the same mode, and never changes the mode.
    """
    metadata = {key: value for key, value in wanted["metadata"].items() if key != "annotations"}
    annotations = {key: value for key, value in wanted["metadata"].get("annotations", {}).items() if key != MODE}
    return _has(found, {**wanted, "metadata": {**metadata, **({"annotations": annotations} if annotations else {})}})


def has_spec(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """As `is_same`, of what makes the pods: other labels and annotations by hand make no other version."""
    return _has(found["spec"], wanted["spec"])


def _has(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            key in found and _has(found[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(_has(one, other) for one, other in zip(found, wanted, strict=True))
        )
    return bool(found == wanted)


def check_form(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """RolloutError where server-side apply would leave both forms of a predictor, of which KServe takes one."""
    there, new = form_of(found), form_of(wanted)
    if there != new:
        given = "a runtime" if new == "containers" else "its own container"
        raise RolloutError(
            f"The InferenceService {found['metadata']['name']} has {given}, and the settings do not: its predictor "
            "can't be changed from one form to the other while it serves. Give another name, or the same form."
        )


def difference(found: dict[str, Any] | None, wanted: dict[str, Any]) -> list[str]:
    """The lines by which two InferenceServices differ, as a unified diff of YAML; none where nothing does."""
    now, then = (yaml.safe_dump(kept(one), sort_keys=True).splitlines() if one else [] for one in (found, wanted))
    return list(difflib.unified_diff(now, then, "now", "then", lineterm="", n=2))
