"""The status that KServe's controller writes into an InferenceService."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from tests.support.kubernetes_store import DEPLOYMENTS, INFERENCE_SERVICES, PODS, Object
from tests.support.kubernetes_workloads import is_ready

if TYPE_CHECKING:
    from tests.support.kubernetes_cluster import Cluster

LABEL = "serving.kserve.io/inferenceservice"
ERRORS = ("Error", "CrashLoopBackOff")


class Statuses:
    """Works out statuses.

    Args:
        cluster: Where the objects are.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._store = cluster, cluster.store

    def write(self, isvc: Object, status: Object) -> None:
        """Replace the status of an InferenceService; a condition that says the same keeps its time."""
        metadata = isvc["metadata"]
        before = {one["type"]: one for one in isvc.get("status", {}).get("conditions", [])}
        for one in status["conditions"]:
            known = before.get(one["type"], {})
            same = known.get("status") == one["status"]
            one["lastTransitionTime"] = known["lastTransitionTime"] if same else self._cluster.clock.stamp()
        status["conditions"].sort(key=lambda one: one["type"])
        was_ready, is_ready = (_is_true(one.get("conditions", []), "Ready") for one in (isvc.get("status", {}), status))
        self._store.set_status(INFERENCE_SERVICES, metadata["namespace"], metadata["name"], status)
        if is_ready and not was_ready:
            told = f"InferenceService [{metadata['name']}] is Ready"
            self._cluster.tell(isvc, "Normal", "InferenceServiceReady", told, "v1beta1Controllers")

    def of(self, isvc: Object, runtime: str, cluster_runtime: str) -> Object:
        """The status of one that has its Deployments."""
        metadata, spec = isvc["metadata"], isvc["spec"]
        name = component_name(isvc, spec["predictor"])
        deployment = self._store.get(DEPLOYMENTS, metadata["namespace"], name)
        predictor = predictor_condition(deployment)
        ready = {**predictor, "type": "Ready"}
        if predictor["status"] == "True":
            ready = {"type": "Ready", "status": "True"}
        stopped = {"type": "Stopped", "status": "False", "severity": "Info"}
        conditions = [{"type": "IngressReady", "status": "True"}, predictor, ready, stopped]
        address = self._cluster.open_service(metadata["namespace"], name)
        status: Object = {"address": {"url": address}, "components": {"predictor": {}}, "conditions": conditions}
        if ready["status"] == "True" or isvc.get("status", {}).get("components", {}).get("predictor"):
            status["components"]["predictor"] = {"url": address}
        status |= {
            "deploymentMode": "Standard",
            "modelStatus": self.model(isvc, ready["status"] == "True", f"app=isvc.{name}"),
        }
        if seen := deployment.get("status", {}).get("observedGeneration"):
            status["observedGeneration"] = seen
        names = {"servingRuntimeName": runtime, "clusterServingRuntimeName": cluster_runtime}
        status |= {key: value for key, value in names.items() if value}
        outside = self._cluster.open_gateway(metadata["namespace"], metadata["name"])
        status["url"] = outside if self._cluster.gateway_api else address
        if canaries := spec.get("canary"):
            status["canaryStatuses"] = [self.canary(isvc, one) for one in canaries]
            all_ready = all(one["ready"] for one in status["canaryStatuses"])
            reason = "AllCanariesReady" if all_ready else "CanariesNotReady"
            known = {"type": "CanaryPredictorReady", "severity": "Info"}
            conditions.append({**known, "status": str(all_ready), "reason": reason})
        return status

    def canary(self, isvc: Object, canary: Object) -> Object:
        """What it says of a canary."""
        name = component_name(isvc, canary["predictor"])
        deployment = self._store.find(DEPLOYMENTS, isvc["metadata"]["namespace"], name) or {}
        ready = _is_true(deployment.get("status", {}).get("conditions", []), "Available")
        known = {"name": canary["predictor"]["name"], "ready": ready, "trafficPercent": canary.get("trafficPercent", 0)}
        return {**known, "modelStatus": {"transitionStatus": ""}}

    def model(self, isvc: Object, ready: bool, selector: str) -> Object:
        """What it says of the model: by the pod whose initializer is at work or failed, else by the first one."""
        old: Object = copy.deepcopy(isvc.get("status", {}).get("modelStatus", {}))
        label = f"{LABEL}={isvc['metadata']['name']}"
        pods = self._store.list(PODS, isvc["metadata"]["namespace"], f"{label},{selector}")
        pods.sort(key=is_ready)  # the new pod of a roll first; on a real cluster it is either
        active = old.get("states", {}).get("activeModelState", "")
        copies = sum(_is_true(pod["status"].get("conditions", []), "Ready") for pod in pods)
        old["copies"] = {"failedCopies": 0, **({"totalCopies": copies} if copies else {})}
        if not pods:
            return _moved(old, active, "Pending", "InProgress")
        for pod in pods:
            for one in pod["status"].get("initContainerStatuses") or []:
                if "running" in one["state"]:
                    return _moved(old, active, "Loading", "InProgress")
                if info := _failure(one):
                    return _moved({**old, "lastFailureInfo": info}, active, "FailedToLoad", "BlockedByFailedLoad")
        if ready:
            return _moved(old, "Loaded", "Loaded", "UpToDate")
        containers = pods[0]["status"].get("containerStatuses") or []
        if not containers:  # it has no node: nothing is said anew
            return old
        for one in containers:
            if info := _failure(one):
                return _moved({**old, "lastFailureInfo": info}, active, "FailedToLoad", "BlockedByFailedLoad")
        return _moved(old, active, "Pending", "InProgress")

    def invalid(self, isvc: Object, reason: str, message: str) -> Object:
        """Of one without a runtime."""
        info = {"reason": reason, "message": message}
        states = {"activeModelState": "", "targetModelState": "FailedToLoad"}
        model = {"lastFailureInfo": info, "states": states, "transitionStatus": "InvalidSpec"}
        return {**self.unknown(isvc), "modelStatus": model}

    def unknown(self, isvc: Object) -> Object:
        """Of one of which nothing could be made, for a reason that the status does not tell."""
        conditions = [{"type": kind, "status": "Unknown"} for kind in ("IngressReady", "PredictorReady", "Ready")]
        status = {"components": {"predictor": {}}, "conditions": conditions, "deploymentMode": "Standard"}
        return {**status, "modelStatus": {"transitionStatus": ""}}

    def failed(self, isvc: Object, message: str) -> Object:
        """Of one of which nothing could be made, for a reason that the status tells."""
        told = {"status": "False", "reason": "ReconcileFailed", "message": message}
        conditions = [{"type": kind, **told} for kind in ("PredictorReady", "Ready")]
        return {**self.unknown(isvc), "conditions": [{"type": "IngressReady", "status": "Unknown"}, *conditions]}

    def stopped(self, isvc: Object) -> Object:
        """Of one that is stopped by its annotation."""
        told = {"status": "False", "reason": "Stopped"}
        conditions = [{"type": kind, **told} for kind in ("PredictorReady", "Ready")]
        conditions.append({"type": "Stopped", "status": "True", "severity": "Info"})
        mode = isvc.get("status", {}).get("deploymentMode", "Standard")
        return {"conditions": conditions, "deploymentMode": mode, "modelStatus": {"transitionStatus": ""}}


def predictor_condition(deployment: Object) -> Object:
    """What a Deployment's conditions make of the condition PredictorReady."""
    found = {one["type"]: one for one in deployment.get("status", {}).get("conditions", [])}
    known = {"type": "PredictorReady"}
    failed, available, progressing = (found.get(kind) for kind in ("ReplicaFailure", "Available", "Progressing"))
    if failed and failed["status"] == "True":
        return {**known, "status": "False", "reason": failed["reason"], "message": failed["message"]}
    if available is None:
        if progressing is None:
            return {**known, "status": "False"}
        return {**known, "status": "Unknown", "reason": progressing["reason"], "message": progressing["message"]}
    over = progressing and (progressing["status"] == "False" or progressing["reason"] == "NewReplicaSetAvailable")
    if available["status"] == "True" and progressing and over:
        told = {"reason": progressing["reason"], "message": progressing["message"]}
        return {**known, "status": progressing["status"], **told}
    return {**known, "status": available["status"], "reason": available["reason"], "message": available["message"]}


def _failure(container: Object) -> Object | None:
    """`lastFailureInfo` of a container that failed."""
    ended = container["state"].get("terminated") or {}
    if container["state"].get("waiting", {}).get("reason") in ERRORS:
        ended = container["lastState"].get("terminated") or {}
    if ended.get("reason") not in ERRORS:
        return None
    message = {"message": ended["message"]} if ended.get("message") else {}
    return {"exitCode": ended["exitCode"], "reason": "ModelLoadFailed", **message}


def _moved(old: Object, active: str, target: str, transition: str) -> Object:
    states = {"activeModelState": active, "targetModelState": target}
    return {**old, "states": states, "transitionStatus": transition}


def component_name(isvc: Object, predictor: Object) -> str:
    """The name of a predictor's Deployment, Service and autoscaler."""
    middle = f"-{predictor['name']}" if predictor.get("name") else ""
    return f"{isvc['metadata']['name']}{middle}-predictor"


def _is_true(conditions: list[Object], kind: str) -> bool:
    return any(one["type"] == kind and one["status"] == "True" for one in conditions)
