"""KServe's controller in Standard mode, as the recordings show them.

An InferenceService becomes, for its predictor and for each of its canaries, a Deployment, a Service and an autoscaler;
its status is read off the Deployment's conditions and, for the model, off one of the pods. What this makes of failures
is told in the cluster's facts: `Ready` stays True through a whole roll, `observedGeneration` is the Deployment's, a
failed first deployment says only MinimumReplicasUnavailable.

What no recording has is in kubernetes_gateway.py, where the Gateway API is installed, and in kubernetes_knative.py.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from tests.support.kubernetes_knative import REVISIONS, Knative
from tests.support.kubernetes_resources import by_kind
from tests.support.kubernetes_specs import ReconcileError, RuntimeProblemError, Specs, canary_pods
from tests.support.kubernetes_status import Statuses, component_name
from tests.support.kubernetes_store import DEPLOYMENTS, HPAS, INFERENCE_SERVICES, SERVICES, Object

if TYPE_CHECKING:
    from tests.support.kubernetes_cluster import Cluster

FINALIZER = "inferenceservice.finalizers"
PREFIX = "serving.kserve.io"


class KServe:
    """The controller.

    Args:
        cluster: Where it works.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._store = cluster, cluster.store
        self._specs, self._statuses = Specs(cluster.store), Statuses(cluster)
        self._knative = Knative(cluster, self._statuses)

    def weights(self, namespace: str, name: str) -> list[tuple[str, int]]:
        """The Services or revisions behind an InferenceService, each with its part of the traffic from outside."""
        isvc = self._store.find(INFERENCE_SERVICES, namespace, name)
        if isvc is None:
            return []
        if revisions := self._knative.weights(namespace, name):
            return revisions
        if self._cluster.gateway_api:
            return self._cluster.gateway.backends(namespace, name)
        return [(component_name(isvc, isvc["spec"]["predictor"]), 100)]

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
            wanted = self._specs.components(isvc)
        except RuntimeProblemError as problem:
            reason, message = problem.args
            self._tell_problem(isvc, self._statuses.invalid(isvc, reason, message))
            return
        except ReconcileError as problem:
            self._tell_problem(isvc, self._statuses.failed(isvc, str(problem)))
            return
        if wanted is None:
            told = f"fails to reconcile predictor: storage initializer not found for {isvc['spec']['predictor']}"
            self._cluster.tell(isvc, "Warning", "InternalError", told, "v1beta1Controllers")
            self._tell_problem(isvc, self._statuses.unknown(isvc))
            return
        if self._mode(isvc) == "Knative":
            wanted[0].pop("predictor")
            self._knative.reconcile(isvc, wanted[0])
            return
        wanted[0]["predictor"] = self._beside_canaries(isvc)
        for part in wanted:
            self._make(isvc, part)
        self._remove_others(isvc, [part["metadata"]["name"] for part in wanted])
        if self._cluster.gateway_api:  # a moment later, in which requests are sent
            self._cluster.enqueue(self._cluster.seconds["routes"], "routes", namespace, name)
        else:
            self._statuses.write(isvc, self._statuses.of(isvc, *self._specs.runtime_names(isvc)))

    def reconcile_routes(self, namespace: str, name: str) -> None:
        """The second half of a look at an InferenceService, where the Gateway API is installed."""
        isvc = self._store.find(INFERENCE_SERVICES, namespace, name)
        there = isvc and self._store.find(DEPLOYMENTS, namespace, component_name(isvc, isvc["spec"]["predictor"]))
        if not isvc or not there or isvc["metadata"].get("deletionTimestamp"):
            return
        status = self._statuses.of(isvc, *self._specs.runtime_names(isvc))
        self._cluster.gateway.reconcile(isvc, status)
        self._statuses.write(isvc, status)

    def _beside_canaries(self, isvc: Object) -> Object:
        """The stable predictor with as many pods less as its canaries have that are ready."""
        predictor = isvc["spec"]["predictor"]
        canaries = [one for one in isvc["spec"].get("canary") or [] if self._statuses.canary(isvc, one)["ready"]]
        taken = sum(canary_pods(isvc, one) for one in canaries)
        if not taken or "minReplicas" not in predictor:
            return dict(predictor)
        return {**predictor, "minReplicas": max(1, predictor["minReplicas"] - taken)}

    def _tell_problem(self, isvc: Object, status: Object) -> None:
        """Write a status; what is known of revisions stays."""
        if self._mode(isvc) == "Knative":
            known = {"components": isvc.get("status", {}).get("components", {"predictor": {}})}
            status = {**status, **known, "deploymentMode": "Knative"}
        self._statuses.write(isvc, status)

    def _mode(self, isvc: Object) -> str:
        said = isvc.get("status", {}).get("deploymentMode")
        annotations: Object = isvc["metadata"].get("annotations", {})
        return str(said or annotations.get(f"{PREFIX}/deploymentMode", self._cluster.default_mode))

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
        for resource in (HPAS, REVISIONS):
            for one in self._store.owned(resource, isvc["metadata"]["uid"]):
                self._store.delete(resource, one["metadata"]["namespace"], one["metadata"]["name"])
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
