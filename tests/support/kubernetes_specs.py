"""What KServe makes of the spec of an InferenceService: the Deployments of its predictor and of its canaries."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

from tests.support.kubernetes_pods import SOURCE
from tests.support.kubernetes_resources import by_kind
from tests.support.kubernetes_status import component_name
from tests.support.kubernetes_store import Object, Store, owner_reference

PREFIX = "serving.kserve.io"
NOT_COPIED = {"kubectl.kubernetes.io/last-applied-configuration", "modelFormat", f"{PREFIX}/stop"}
SCHEMES = ("pvc", "s3", "gs", "hf", "http", "https", "file", "hdfs", "webhdfs", "azure", "oci")


OF_PODS = (
    "serviceAccountName",
    "nodeSelector",
    "tolerations",
    "affinity",
    "imagePullSecrets",
    "securityContext",
    "volumes",
)


class RuntimeProblemError(Exception):
    """No runtime for a model: the reason and the message of `lastFailureInfo`."""


class ReconcileError(Exception):
    """What the controller could not make of a spec."""


class Specs:
    """Works them out.

    Args:
        store: Where the runtimes are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def components(self, isvc: Object) -> list[Object] | None:
        """The Deployments to make; None where no initializer reads the address of the model."""
        canaries = isvc["spec"].get("canary") or []
        predictors = [isvc["spec"]["predictor"], *(canary_predictor(isvc, one) for one in canaries)]
        for predictor in predictors:
            uri = _storage_uri(predictor)
            if uri and uri.partition("://")[0] not in SCHEMES:
                return None
        return [self._deployment(isvc, predictor) for predictor in predictors]

    def _deployment(self, isvc: Object, predictor: Object) -> Object:
        name, metadata = component_name(isvc, predictor), isvc["metadata"]
        host = f"{name}-{metadata['namespace']}"
        if len(host) > 63:
            raise ReconcileError(
                f'fails to reconcile predictor: invalid domain name "{host}": must be no more than 63 characters'
            )
        container = self._container(isvc, predictor)
        ports = container.get("ports", [])
        if len(ports) > 1 and not all(one.get("name") for one in ports):
            missing = ", ".join(f"spec.ports[{i}].name: Required value" for i in range(len(ports)))
            raise ReconcileError(f'fails to reconcile predictor: Service "{name}" is invalid: [{missing}]')
        uri = _storage_uri(predictor)
        own = {"app": f"isvc.{name}", "component": "predictor", f"{PREFIX}/inferenceservice": metadata["name"]}
        labels = {**metadata.get("labels", {}), **own}
        annotations = {key: value for key, value in metadata.get("annotations", {}).items() if key not in NOT_COPIED}
        if uri:
            annotations[SOURCE] = uri
        made = {"name": name, "namespace": metadata["namespace"], "labels": labels, "annotations": annotations}
        pod: Object = {"containers": [container], **{key: predictor[key] for key in OF_PODS if key in predictor}}
        pod |= {"restartPolicy": "Always", "terminationGracePeriodSeconds": 30}
        least = predictor.get("minReplicas", 1)
        by_hand = metadata.get("annotations", {}).get(f"{PREFIX}/autoscalerClass") in ("none", "external")
        spec: Object = {"replicas": least if by_hand else 1, "selector": {"matchLabels": {"app": f"isvc.{name}"}}}
        spec["template"] = {"metadata": copy.deepcopy(made), "spec": pod}
        bounds = {"maxUnavailable": "25%", "maxSurge": "25%"}
        spec |= {"strategy": {"type": "RollingUpdate", "rollingUpdate": bounds}, "progressDeadlineSeconds": 600}
        return {"metadata": {**made, "ownerReferences": [owner_reference(isvc)]}, "spec": spec, "predictor": predictor}

    def _container(self, isvc: Object, predictor: Object) -> Object:
        model = predictor.get("model")
        if model is None:
            base, own = {}, copy.deepcopy(predictor["containers"][0])
        else:
            runtime = self._runtime(isvc["metadata"]["namespace"], model)
            base = copy.deepcopy(runtime["spec"]["containers"][0])
            left_out = ("modelFormat", "runtime", "storageUri", "storage", "name", "protocolVersion")
            own = {key: copy.deepcopy(value) for key, value in model.items() if key not in left_out}
        merged = {**base, **{key: value for key, value in own.items() if value not in ({}, [])}}
        merged["name"] = "kserve-container"
        for field, key in (("env", "name"), ("ports", "containerPort")):
            both = [*base.get(field, []), *own.get(field, [])]
            if both:  # merged by their keys
                merged[field] = list({one[key]: one for one in both}.values())
        env = [*merged.get("env", []), {"name": "INFERENCE_SERVICE_NAME", "value": isvc["metadata"]["name"]}]
        merged["env"] = env
        if "readinessProbe" not in merged:
            port = (merged.get("ports") or [{"containerPort": 8080}])[0]["containerPort"]
            merged["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 10, "timeoutSeconds": 1}
        return json.loads(json.dumps(merged).replace("{{.Name}}", isvc["metadata"]["name"]))

    def _runtime(self, namespace: str, model: Object) -> Object:
        own, shared = by_kind("ServingRuntime"), by_kind("ClusterServingRuntime")
        known = [*self._store.list(own, namespace), *self._store.list(shared)]
        protocol, format_ = model.get("protocolVersion", "v1"), model["modelFormat"]["name"]
        if name := model.get("runtime"):
            found = next((one for one in known if one["metadata"]["name"] == name), None)
            if found is None:
                raise RuntimeProblemError("RuntimeNotRecognized", "Waiting for runtime to become available")
            lacking = ""
            if protocol not in found["spec"].get("protocolVersions", ["v1"]):
                lacking = "protocol version"
            elif format_ not in [one["name"] for one in found["spec"].get("supportedModelFormats", [])]:
                lacking = "framework/version"
            if lacking:
                message = f"Specified runtime does not support specified {lacking}"
                raise RuntimeProblemError("NoSupportingRuntime", message)
            return found
        for one in known:
            formats = one["spec"].get("supportedModelFormats", [])
            fits = any(entry["name"] == format_ and entry.get("autoSelect") for entry in formats)
            if fits and protocol in one["spec"].get("protocolVersions", ["v1"]):
                return one
        message = "No runtime found to support specified framework/version"
        raise RuntimeProblemError("NoSupportingRuntime", message)

    def runtime_names(self, isvc: Object) -> tuple[str, str]:
        """Name of the runtime in the namespace, and of the one of the cluster; "" for none."""
        model = isvc["spec"]["predictor"].get("model")
        if model is None:
            return "", ""
        runtime = self._runtime(isvc["metadata"]["namespace"], model)
        name = runtime["metadata"]["name"]
        return (name, "") if runtime["kind"] == "ServingRuntime" else ("", name)


def canary_pods(isvc: Object, canary: Object) -> int:
    """How many pods a canary has."""
    least = isvc["spec"]["predictor"].get("minReplicas", 1)
    return int(canary["predictor"].get("minReplicas", math.ceil(least * canary.get("trafficPercent", 0) / 100)))


def canary_predictor(isvc: Object, canary: Object) -> Object:
    """The predictor of a canary: the fields of the stable one, and its own over them."""
    merged: Object = _merged(isvc["spec"]["predictor"], canary["predictor"])
    merged.pop("maxReplicas", None)
    return {**merged, "minReplicas": canary_pods(isvc, canary)}


def _merged(one: Any, other: Any) -> Any:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return copy.deepcopy(other)
    both = {name: _merged(one[name], other[name]) for name in one.keys() & other.keys()}
    return {**copy.deepcopy(one), **copy.deepcopy(other), **both}


def _storage_uri(predictor: Object) -> str:
    if "model" in predictor:
        return str(predictor["model"].get("storageUri", ""))
    env = {one["name"]: one.get("value", "") for one in predictor["containers"][0].get("env", [])}
    return str(env.get("STORAGE_URI", ""))
