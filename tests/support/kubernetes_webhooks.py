"""KServe's admission webhooks, as the recordings show them: what they add, and what they refuse."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from kubernetes.utils import parse_quantity

from tests.support.kubernetes_pods import SOURCE
from tests.support.kubernetes_store import ApiError, Object

PREFIX = "serving.kserve.io"
FORMATS = ("tensorflow", "sklearn", "xgboost", "pytorch", "triton", "onnx", "huggingface", "pmml", "lightgbm")
VALIDATOR = 'admission webhook "inferenceservice.kserve-webhook-server.validator" denied the request: '
PANIC = (
    'admission webhook "inferenceservice.kserve-webhook-server.defaulter" denied the request: panic: runtime error: '
    "index out of range [0] with length 0 [recovered]"
)
NAME = r"[a-z]([-a-z0-9]*[a-z0-9])?"
DECIMAL = {-3: "n", -2: "u", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T", 5: "P", 6: "E"}  # powers of 1000
BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")  # powers of 1024
OLDER_MODES = {"RawDeployment": "Standard", "Serverless": "Knative"}


def add_defaults(new: Object, mode: str) -> Object:
    """An InferenceService with what the defaulter adds; nobody is put down as its manager.

    Args:
        new: The object.
        mode: The deployment mode of one that does not say it.
    """
    one = _rewritten(new)
    predictor = (one.get("spec") or {}).get("predictor") or {}
    annotations = one["metadata"].setdefault("annotations", {})
    for name in FORMATS:
        if name in predictor:
            predictor["model"] = {**predictor.pop(name), "modelFormat": {"name": name}}
    for part in [predictor, *(each["predictor"] for each in (one.get("spec") or {}).get("canary") or [])]:
        if "model" in part:
            part["model"].setdefault("name", "")
            part["model"].setdefault("resources", {})
    if "model" in predictor:
        annotations.setdefault("modelFormat", predictor["model"]["modelFormat"]["name"])
    elif predictor.get("containers"):
        bounds = {"cpu": "1", "memory": "2Gi"}
        resources = predictor["containers"][0].setdefault("resources", {})
        for part in ("limits", "requests"):
            resources[part] = {**bounds, **resources.get(part, {})}
    else:
        raise ApiError(500, "InternalError", PANIC)
    # Where Knative is the default, nothing is written down; older names of the modes are replaced
    # (pkg/apis/serving/v1beta1/inference_service_defaults.go of kserve/kserve).
    if (said := annotations.get(f"{PREFIX}/deploymentMode", "" if mode == "Knative" else mode)) != "":
        annotations[f"{PREFIX}/deploymentMode"] = OLDER_MODES.get(said, said)
    return one


def _rewritten(one: Any, name: str = "") -> Any:
    """A value, that of the field `name`, as Go writes it: quantities in one form, and no empty fields.

    The form of "1000" is in the recordings f-unsched and b2-unsched; the rest is what apimachinery's `Quantity` says of
    its canonical form.
    """
    if isinstance(one, dict):
        if name in ("limits", "requests"):
            return {key: canonical(value) for key, value in one.items()}
        return {key: _rewritten(value, key) for key, value in one.items()}
    if isinstance(one, list):
        entries = [_rewritten(each) for each in one]
        if name in ("tolerations", "env"):
            return [{key: value for key, value in each.items() if value not in ("", None)} for each in entries]
        return entries
    return one


def canonical(quantity: str | int) -> str:
    """A quantity as the API writes it."""
    amount = parse_quantity(quantity)
    if str(quantity).endswith("i") and abs(amount) >= 1024 and amount == int(amount):
        power = 0
        while power < len(BINARY) - 1 and amount % 1024 == 0:
            amount, power = amount / 1024, power + 1
        return f"{int(amount)}{BINARY[power]}"
    amount, power = amount * Decimal(1000) ** 3, -3
    while amount and power < 6 and amount % 1000 == 0:
        amount, power = amount / 1000, power + 1
    return f"{int(amount)}{DECIMAL[power]}" if amount else "0"


def refuse_other_mode(new: Object, old: Object | None) -> None:
    """Refuse another mode than the one in the status (inference_service_validation.go, beside the defaults)."""
    now = (old or {}).get("status", {}).get("deploymentMode")
    asked = new["metadata"].get("annotations", {}).get(f"{PREFIX}/deploymentMode", now)
    if now and asked != now:
        _deny(f"update rejected: deploymentMode cannot be changed from '{now}' to '{asked}'")


def refuse_invalid(new: Object) -> None:
    """Refuse what the validator refuses (403)."""
    name, predictor = new["metadata"]["name"], new["spec"]["predictor"]
    if not re.fullmatch(NAME, name):
        must = "must consist of lower case alphanumeric characters or '-', and must start with alphabetical character."
        shown = f'(e.g. "my-name" or "abc-123", regex used for validation is \'{NAME}\')'
        _deny(f'the InferenceService "{name}" is invalid: a InferenceService name {must} {shown}')
    least, most = predictor.get("minReplicas", 1), predictor.get("maxReplicas", 0)
    if most and least > most:
        _deny("'MinReplicas' cannot be greater than MaxReplicas")
    canaries = new["spec"].get("canary") or []
    for index, canary in enumerate(canaries):
        if not canary["predictor"].get("name"):
            _deny(f"canary[{index}] predictor.name is required")
    if (total := sum(one.get("trafficPercent", 0) for one in canaries)) > 100:
        _deny(f"sum of canary trafficPercent values ({total}) must be <= 100")
    for canary in canaries:
        if (asked := canary["predictor"].get("minReplicas", 0)) > least:
            told = f"minReplicas ({asked}) must not exceed stable predictor minReplicas ({least})"
            _deny(f'canary "{canary["predictor"]["name"]}" {told}')


def add_model(body: Object) -> Object:
    """A pod with the volume of its model, or the container that fetches it."""
    uri = body["metadata"].get("annotations", {}).get(SOURCE, "")
    spec = body["spec"]
    mount: Object = {"mountPath": "/mnt/models", "readOnly": True}
    if uri.startswith("pvc://"):
        claim, _, path = uri.removeprefix("pvc://").partition("/")
        volume = {"name": "kserve-pvc-source", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        mount |= {"name": "kserve-pvc-source", **({"subPath": path} if path else {})}
    elif uri:
        volume = {"name": "kserve-provision-location", "emptyDir": {}}
        mount["name"] = "kserve-provision-location"
        into = [{"name": mount["name"], "mountPath": "/mnt/models"}]
        initializer = {"name": "storage-initializer", "image": "kserve/storage-initializer:latest"}
        spec["initContainers"] = [{**initializer, "args": [uri, "/mnt/models"], "volumeMounts": into}]
    else:
        return body
    spec["volumes"] = [*spec.get("volumes", []), volume]
    spec["containers"][0]["volumeMounts"] = [*spec["containers"][0].get("volumeMounts", []), mount]
    return body


def _deny(message: str) -> None:
    raise ApiError(403, "Forbidden", VALIDATOR + message)
