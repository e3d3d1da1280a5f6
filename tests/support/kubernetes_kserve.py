"""KServe's controller and webhooks in Standard mode, as the recordings show them.

An InferenceService becomes, for its predictor and for each of its canaries, a Deployment, a Service and an autoscaler;
its status is read off the Deployment's conditions and, for the model, off one of the pods. What this makes of failures
is told in the cluster's facts: `Ready` stays True through a whole roll, `observedGeneration` is the Deployment's, a
failed first deployment says only MinimumReplicasUnavailable.

Assumed, as no recording has it: with the Gateway API `status.url` splits the traffic by the weights of `spec.canary`,
and what the canaries do not get goes to the stable predictor
(https://kserve.github.io/website/docs/model-serving/predictive-inference/rollout-strategies/canary). Knative mode is
not played.
"""

from __future__ import annotations

import copy
import json
import re
from typing import TYPE_CHECKING, Any

from tests.support.kubernetes_pods import SOURCE
from tests.support.kubernetes_resources import by_kind
from tests.support.kubernetes_status import Statuses, component_name
from tests.support.kubernetes_store import (
    DEPLOYMENTS,
    HPAS,
    INFERENCE_SERVICES,
    SERVICES,
    ApiError,
    Object,
    owner_reference,
)

if TYPE_CHECKING:
    from tests.support.kubernetes_cluster import Cluster

FINALIZER = "inferenceservice.finalizers"
PREFIX = "serving.kserve.io"
NOT_COPIED = {"kubectl.kubernetes.io/last-applied-configuration", "modelFormat", f"{PREFIX}/stop"}
SCHEMES = ("pvc", "s3", "gs", "hf", "http", "https", "file", "hdfs", "webhdfs", "azure", "oci")
FORMATS = ("tensorflow", "sklearn", "xgboost", "pytorch", "triton", "onnx", "huggingface", "pmml", "lightgbm")
VALIDATOR = 'admission webhook "inferenceservice.kserve-webhook-server.validator" denied the request: '
PANIC = (
    'admission webhook "inferenceservice.kserve-webhook-server.defaulter" denied the request: panic: runtime error: '
    "index out of range [0] with length 0 [recovered]"
)
NAME = r"[a-z]([-a-z0-9]*[a-z0-9])?"


class RuntimeProblemError(Exception):
    """No runtime for a model: the reason and the message of `lastFailureInfo`."""


class ReconcileError(Exception):
    """What the controller could not make of a spec."""


class KServe:
    """The controller.

    Args:
        cluster: Where it works.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._store = cluster, cluster.store
        self._statuses = Statuses(cluster)

    # The webhooks

    def admit(self, new: Object) -> Object:
        """The object with what the defaulter adds; nobody is put down as its manager."""
        one = copy.deepcopy(new)
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
        annotations.setdefault(f"{PREFIX}/deploymentMode", "Standard")
        return one

    def validate(self, new: Object) -> None:
        """Refuse what the validator refuses (403)."""
        name, predictor = new["metadata"]["name"], new["spec"]["predictor"]
        if not re.fullmatch(NAME, name):
            must = (
                "must consist of lower case alphanumeric characters or '-', and must start with alphabetical character."
            )
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

    def admit_pod(self, body: Object) -> Object:
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

    # The controller

    def weights(self, namespace: str, name: str) -> list[tuple[str, int]]:
        """The Services behind an InferenceService, each with its part of the traffic from outside."""
        isvc = self._store.find(INFERENCE_SERVICES, namespace, name)
        if isvc is None:
            return []
        canaries = (isvc["spec"].get("canary") or []) if self._cluster.gateway_api else []
        parts = [(component_name(isvc, one["predictor"]), one.get("trafficPercent", 0)) for one in canaries]
        stable = component_name(isvc, isvc["spec"]["predictor"])
        return [(stable, 100 - sum(part for _, part in parts)), *parts]

    def reconcile(self, namespace: str, name: str) -> None:
        """Look at an InferenceService, and at what belongs to it."""
        isvc = self._store.find(INFERENCE_SERVICES, namespace, name)
        if isvc is None or not self._cluster.controller:
            return
        if isvc["metadata"].get("deletionTimestamp"):
            self._finalize(isvc)
            return
        if FINALIZER not in isvc["metadata"].get("finalizers", []):
            self._change(isvc, lambda one: one["metadata"].setdefault("finalizers", []).append(FINALIZER))
            return  # its own change brings it here again
        if isvc["metadata"].get("annotations", {}).get(f"{PREFIX}/stop") == "true":
            self._stop(isvc)
            return
        try:
            wanted = self._components(isvc)
        except RuntimeProblemError as problem:
            reason, message = problem.args
            self._statuses.write(isvc, self._statuses.invalid(isvc, reason, message))
            return
        except ReconcileError as problem:
            self._statuses.write(isvc, self._statuses.failed(isvc, str(problem)))
            return
        if wanted is None:
            told = f"fails to reconcile predictor: storage initializer not found for {isvc['spec']['predictor']}"
            self._cluster.tell(isvc, "Warning", "InternalError", told, "v1beta1Controllers")
            self._statuses.write(isvc, self._statuses.unknown(isvc))
            return
        for part in wanted:
            self._make(isvc, part)
        self._remove_others(isvc, [part["metadata"]["name"] for part in wanted])
        self._statuses.write(isvc, self._statuses.of(isvc, *self._runtime_names(isvc)))

    def _components(self, isvc: Object) -> list[Object] | None:
        """The Deployments to make; None where no initializer reads the address of the model."""
        predictors = [isvc["spec"]["predictor"], *(one["predictor"] for one in isvc["spec"].get("canary") or [])]
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
        copied = (
            "serviceAccountName",
            "nodeSelector",
            "tolerations",
            "affinity",
            "imagePullSecrets",
            "securityContext",
        )
        pod: Object = {"containers": [container], **{key: predictor[key] for key in copied if key in predictor}}
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
        merged = {
            **base,
            **{key: value for key, value in own.items() if value not in ({}, [])},
            "name": "kserve-container",
        }
        for field, key in (("env", "name"), ("ports", "containerPort")):
            if base.get(field) and own.get(field):
                merged[field] = list(
                    {**{one[key]: one for one in base[field]}, **{one[key]: one for one in own[field]}}.values()
                )
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
            if protocol not in found["spec"].get("protocolVersions", ["v1"]):
                message = "Specified runtime does not support specified protocol version"
                raise RuntimeProblemError("NoSupportingRuntime", message)
            if format_ not in [one["name"] for one in found["spec"].get("supportedModelFormats", [])]:
                message = "Specified runtime does not support specified framework/version"
                raise RuntimeProblemError("NoSupportingRuntime", message)
            return found
        for one in known:
            formats = one["spec"].get("supportedModelFormats", [])
            fits = any(entry["name"] == format_ and entry.get("autoSelect") for entry in formats)
            if fits and protocol in one["spec"].get("protocolVersions", ["v1"]):
                return one
        message = "No runtime found to support specified framework/version"
        raise RuntimeProblemError("NoSupportingRuntime", message)

    def _runtime_names(self, isvc: Object) -> tuple[str, str]:
        """Name of the runtime in the namespace, and of the one of the cluster; "" for none."""
        model = isvc["spec"]["predictor"].get("model")
        if model is None:
            return "", ""
        runtime = self._runtime(isvc["metadata"]["namespace"], model)
        name = runtime["metadata"]["name"]
        return (name, "") if runtime["kind"] == "ServingRuntime" else ("", name)

    def _make(self, isvc: Object, wanted: Object) -> None:
        metadata, predictor = wanted["metadata"], wanted.pop("predictor")
        name, namespace = metadata["name"], metadata["namespace"]
        made = {key: metadata[key] for key in ("name", "namespace", "labels", "annotations", "ownerReferences")}
        port = (wanted["spec"]["template"]["spec"]["containers"][0].get("ports") or [{"containerPort": 8080}])[0]
        service = {"ports": [{"protocol": "TCP", "port": 80, "targetPort": port["containerPort"]}], "type": "ClusterIP"}
        service["selector"] = wanted["spec"]["selector"]["matchLabels"]
        there = self._store.find(SERVICES, namespace, name)
        if there is None or there["metadata"].get("deletionTimestamp"):
            address = {
                "annotations": {**metadata["annotations"], "address": self._cluster.open_service(namespace, name)}
            }
            self._store.create(
                SERVICES, {"metadata": {**made, **address}, "spec": {**service, "clusterIP": "127.0.0.1"}}
            )
        if self._store.find(DEPLOYMENTS, namespace, name) is None:
            self._store.create(DEPLOYMENTS, copy.deepcopy(wanted))
        else:
            scaled = self._store.find(HPAS, namespace, name) is not None

            def change(one: Object) -> Object:
                replicas = one["spec"]["replicas"] if scaled else wanted["spec"]["replicas"]
                one["metadata"] |= {"labels": metadata["labels"], "annotations": metadata["annotations"]}
                return {**one, "spec": {**wanted["spec"], "replicas": replicas}}

            self._store.change(DEPLOYMENTS, namespace, name, change)
        if isvc["metadata"].get("annotations", {}).get(f"{PREFIX}/autoscalerClass") not in ("none", "external"):
            self._make_hpa(made, predictor)

    def _make_hpa(self, made: Object, predictor: Object) -> None:
        name, namespace = made["name"], made["namespace"]
        least = max(1, predictor.get("minReplicas", 1))
        usage = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
        spec = {
            "scaleTargetRef": {"kind": "Deployment", "name": name, "apiVersion": "apps/v1"},
            "minReplicas": least,
            "maxReplicas": max(least, predictor.get("maxReplicas", 1)),
            "metrics": [{"type": "Resource", "resource": usage}],
        }
        if self._store.find(HPAS, namespace, name) is None:
            status = {"desiredReplicas": 0, "currentMetrics": None}
            self._store.create(HPAS, {"metadata": made, "spec": spec, "status": status})
        else:
            self._store.change(HPAS, namespace, name, lambda one: {**one, "spec": spec})

    def _remove_others(self, isvc: Object, kept: list[str]) -> None:
        """Deployments and Services of canaries that are no more; their autoscalers are forgotten, as recorded."""
        for resource in (DEPLOYMENTS, SERVICES):
            for one in self._store.owned(resource, isvc["metadata"]["uid"]):
                if one["metadata"]["name"] not in kept:
                    self._store.delete(resource, one["metadata"]["namespace"], one["metadata"]["name"])

    def _stop(self, isvc: Object) -> None:
        self._remove_others(isvc, [])
        for one in self._store.owned(HPAS, isvc["metadata"]["uid"]):
            self._store.delete(HPAS, one["metadata"]["namespace"], one["metadata"]["name"])
        self._statuses.write(isvc, self._statuses.stopped(isvc))

    def _finalize(self, isvc: Object) -> None:
        finalizers = isvc["metadata"].get("finalizers", [])
        if FINALIZER in finalizers:
            self._change(isvc, lambda one: one["metadata"]["finalizers"].remove(FINALIZER))
        elif "foregroundDeletion" in finalizers:
            uid, namespace = isvc["metadata"]["uid"], isvc["metadata"]["namespace"]
            for resource in (DEPLOYMENTS, SERVICES, HPAS):
                for one in self._store.owned(resource, uid):
                    self._store.delete(resource, namespace, one["metadata"]["name"])
            label = f"{PREFIX}/inferenceservice={isvc['metadata']['name']}"
            if self._store.list(by_kind("Pod"), namespace, label):
                self._cluster.enqueue(0.1, "kserve", namespace, isvc["metadata"]["name"], "foreground")
            else:
                self._change(isvc, lambda one: one["metadata"]["finalizers"].remove("foregroundDeletion"))

    def _change(self, isvc: Object, change: Any) -> None:
        def write(one: Object) -> Object:
            change(one)
            return one

        metadata = isvc["metadata"]
        self._store.change(INFERENCE_SERVICES, metadata["namespace"], metadata["name"], write)


def _storage_uri(predictor: Object) -> str:
    if "model" in predictor:
        return str(predictor["model"].get("storageUri", ""))
    env = {one["name"]: one.get("value", "") for one in predictor["containers"][0].get("env", [])}
    return str(env.get("STORAGE_URI", ""))


def _deny(message: str) -> None:
    raise ApiError(403, "Forbidden", VALIDATOR + message)
