"""The InferenceService that serves a version: its fields that are ours."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import yaml

from kfp_bert_components.deployment import RolloutError
from kfp_bert_components.errors import UserError
from kfp_bert_components.kserve.settings import IMAGE, KServeSettings
from kfp_bert_components.kubernetes_api import is_same_quantity

KIND = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
FORMAT = "kfp-bert"  # the model format of a ServingRuntime with our server
MODE = "serving.kserve.io/deploymentMode"  # the annotation
PORT = 8080
STAMP = "KFP_BERT_ROLLOUT"  # on the container, the version and its settings
SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"  # on the pods, the address of their model
HIDDEN = "(hidden)"  # in place of the value of an environment variable that is not ours
_STORAGE = "STORAGE_URI"
STOP = "serving.kserve.io/stop"  # the annotation with which KServe makes no pods
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"  # holds the whole object, as text
_QUANTITIES = ("limits", "requests")
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
    stamp = {"name": STAMP, "value": f"{_stamp(version, fingerprint)}{settings.pod_shape()}"}
    predictor: dict[str, Any] = {
        "minReplicas": replicas[0],
        "maxReplicas": replicas[1],
        **({"serviceAccountName": settings.service_account} if settings.service_account else {}),
        **({"nodeSelector": settings.node_selector} if settings.node_selector else {}),
        **({"tolerations": _tolerations(settings)} if settings.tolerations else {}),
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
        predictor["containers"] = [_container(settings, name, [{"name": _STORAGE, "value": address}, stamp])]
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


def _tolerations(settings: KServeSettings) -> list[dict[str, Any]]:
    """The API keeps no empty fields of a toleration."""
    return [{key: value for key, value in one.items() if value not in ("", None)} for one in settings.tolerations]


def address_of(found: dict[str, Any]) -> str:
    """The address of the model that an InferenceService is to serve; "" where it names none."""
    predictor = found.get("spec", {}).get("predictor", {})
    if "model" in predictor:
        return str(predictor["model"].get("storageUri", ""))
    return _variable(predictor.get("containers"), _STORAGE)


def stamp_of(found: dict[str, Any]) -> str:
    """The version and the settings of an InferenceService, or of the template of a Deployment; "" where it has none."""
    spec = found.get("spec", {})
    predictor = spec.get("predictor", spec)
    return _variable([predictor["model"]] if "model" in predictor else predictor.get("containers"), STAMP)


def is_version(found: dict[str, Any], version: int, fingerprint: str) -> bool:
    """Whether an InferenceService was written to serve a version with a bundle, in whichever pods."""
    return stamp_of(found).startswith(_stamp(version, fingerprint))


def version_of(found: dict[str, Any]) -> int:
    """The version that an InferenceService was written to serve, by its stamp; 0 where it has none."""
    number = stamp_of(found).partition("-")[0]
    return int(number) if number.isdecimal() else 0


def _stamp(version: int, fingerprint: str) -> str:
    return f"{version}-{fingerprint[:16]}-"


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
    """What must be written to make an InferenceService again what it is now; whoever stops it also starts it."""
    metadata = found["metadata"]
    labels = metadata.get("labels")
    given = metadata.get("annotations", {})
    annotations = {key: value for key, value in given.items() if key not in (_LAST_APPLIED, STOP)}
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


def without_values(one: Any) -> Any:
    """The same without the values of environment variables, which may be secret; those that we write stay."""
    if isinstance(one, list):
        return [without_values(each) for each in one]
    if not isinstance(one, dict):
        return one
    return {key: _hidden(value) if key == "env" else without_values(value) for key, value in one.items()}


def with_values(shown: Any, whole: Any) -> Any:
    """What `without_values` made of an object, with the values of `whole`, which has all its fields."""
    if isinstance(shown, dict):
        return {key: with_values(value, whole[key]) for key, value in shown.items()}
    if isinstance(shown, list):
        return [with_values(one, other) for one, other in zip(shown, whole, strict=True)]
    return whole if shown == HIDDEN else shown


def _hidden(variables: Any) -> Any:
    if not isinstance(variables, list):
        return variables
    shown = (STAMP, _STORAGE) if any(one.get("name") == STAMP for one in variables) else ()
    return [{**one, "value": HIDDEN} if "value" in one and one.get("name") not in shown else one for one in variables]


def is_same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether an InferenceService has all fields of another one with their values; what others added does not matter.

    Nor does the annotation of the mode: KServe writes another name of the same mode, and never changes the mode.
    """
    metadata = {key: value for key, value in wanted["metadata"].items() if key != "annotations"}
    annotations = {key: value for key, value in wanted["metadata"].get("annotations", {}).items() if key != MODE}
    return has(found, {**wanted, "metadata": {**metadata, **({"annotations": annotations} if annotations else {})}})


def has_spec(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """As `is_same`, of what makes the pods: other labels and annotations by hand make no other version."""
    return has(found["spec"], wanted["spec"])


def has(found: Any, wanted: Any, name: str = "") -> bool:
    """Whether a value, that of the field `name`, has all that is wanted; quantities are compared as amounts."""
    if isinstance(wanted, dict):
        same = _is_same_amount if name in _QUANTITIES else has
        return isinstance(found, dict) and all(key in found and same(found[key], wanted[key], key) for key in wanted)
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(has(one, other) for one, other in zip(found, wanted, strict=True))
        )
    return bool(found == wanted)


def _is_same_amount(found: Any, wanted: Any, name: str) -> bool:
    return is_same_quantity(found, wanted)


def is_stopped(found: dict[str, Any]) -> bool:
    """Whether somebody stopped an InferenceService, so that it has no pods."""
    return bool(found["metadata"].get("annotations", {}).get(STOP) == "true")


def check_runs(found: dict[str, Any]) -> None:
    """RolloutError where an InferenceService is stopped."""
    if is_stopped(found):
        raise RolloutError(
            f"The InferenceService {found['metadata']['name']} is stopped by its annotation {STOP}: remove the "
            "annotation."
        )


def check_form(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """RolloutError where server-side apply would leave both forms of a predictor, of which KServe takes one."""
    there, new = form_of(found), form_of(wanted)
    if there != new:
        given = "a runtime" if new == "containers" else "its own container"
        raise RolloutError(
            f"The InferenceService {found['metadata']['name']} has {given}, and the settings do not: its predictor "
            "can't be changed from one form to the other while it serves. Give another name, or the same form."
        )


def check_component(found: dict[str, Any]) -> None:
    """RolloutError where Deployment and Service of a predictor have other names than KServe gives them by itself."""
    if name := found["spec"]["predictor"].get("name"):
        raise RolloutError(
            f"The InferenceService {found['metadata']['name']} has predictor.name: {name}, which is in the names of "
            "its Deployment and its Service: give another name, or remove the field, which changes its address."
        )


def difference(found: dict[str, Any] | None, wanted: dict[str, Any]) -> list[str]:
    """The lines by which two InferenceServices differ, as a unified diff of YAML; none where nothing does.

    Values of environment variables that are not ours are not shown.
    """
    shown = [without_values(kept(one)) if one else {} for one in (found, wanted)]
    now, then = (yaml.safe_dump(one, sort_keys=True).splitlines() if one else [] for one in shown)
    return list(difflib.unified_diff(now, then, "now", "then", lineterm="", n=2))
