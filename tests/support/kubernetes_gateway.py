"""KServe's HTTPRoutes and the gateway that follows them, for which there is no recording.

What is assumed rests on KServe's source at commit aaac4e294 (2026-08-21), in pkg/controller/v1beta1/inferenceservice:

* With `enableGatewayApi` each InferenceService in Standard mode has the HTTPRoutes NAME-predictor and NAME. They are
  made and changed only while PredictorReady is True, NAME after NAME-predictor.
  reconcilers/ingress/httproute_reconciler.go, config/configmap/inferenceservice.yaml
* With canaries each rule has one backend for the predictor's Service and one for that of each canary that is ready,
  with `trafficPercent` as its weight; the predictor has the rest of 100. The release 0.20.0 has `spec.canary` and
  writes no weights (`weights` is False for it); they came with pull request 5912, and the look at `ready` with 5984.
  reconcilers/ingress/httproute_reconciler.go, applyCanaryWeights
* Deployments and Services of canaries are made and deleted first, then the HTTPRoutes are changed, then the status is
  written. controller.go, components/predictor.go (reconcileCanaryDeployments)
* A canary has the fields of the predictor, with its own over them, and a fixed number of pods: its minReplicas, or its
  part of the predictor's, rounded up. The predictor's autoscaler may go down by the pods of the canaries that are
  ready, and not below 1.
  components/predictor.go: buildCanaryPredictor, canaryReplicaCount, adjustStableMinReplicasForCanaries

and on the specification of the Gateway API:

* Requests are shared by weight; a weight of 0 gets none, and a backend that is not there answers with an error.
  https://gateway-api.sigs.k8s.io/reference/spec/#httpbackendref
* Gateways write `status.parents` with conditions that have an `observedGeneration`.
  https://gateway-api.sigs.k8s.io/reference/spec/#routeparentstatus

Nothing says how soon the proxies of a gateway follow that status: here after `seconds["proxies"]`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.support.kubernetes_resources import by_kind
from tests.support.kubernetes_status import component_name
from tests.support.kubernetes_store import Object, owner_reference

if TYPE_CHECKING:
    from tests.support.kubernetes_cluster import Cluster

ROUTES = by_kind("HTTPRoute")
GATEWAY = {
    "group": "gateway.networking.k8s.io",
    "kind": "Gateway",
    "namespace": "kserve",
    "name": "kserve-ingress-gateway",
}


class Gateway:
    """KServe's part and that of the gateway.

    Args:
        cluster: Where it works.

    Attributes:
        weights: Whether KServe writes the weights of canaries into HTTPRoutes.
        followed: Whether the gateway follows HTTPRoutes.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._store = cluster, cluster.store
        self.weights, self.followed = True, True
        self._backends: dict[tuple[str, str], list[tuple[str, int]]] = {}

    def reconcile(self, isvc: Object, status: Object) -> None:
        """Make the HTTPRoutes of an InferenceService what they are to be.

        Args:
            isvc: The InferenceService.
            status: Its status, as it is going to be written.
        """
        if not any((one["type"], one["status"]) == ("PredictorReady", "True") for one in status["conditions"]):
            return
        metadata = isvc["metadata"]
        backends = [_backend(component_name(isvc, isvc["spec"]["predictor"]))]
        if self.weights and isvc["spec"].get("canary"):
            ready = {one["name"] for one in status["canaryStatuses"] if one["ready"]}
            canaries = [one for one in isvc["spec"]["canary"] if one["predictor"]["name"] in ready]
            backends[0]["weight"] = 100 - sum(one["trafficPercent"] for one in canaries)
            for one in canaries:
                weight = {"weight": one["trafficPercent"]}
                backends.append({**_backend(component_name(isvc, one["predictor"])), **weight})
        for name in (f"{metadata['name']}-predictor", metadata["name"]):
            spec = {"parentRefs": [GATEWAY], "rules": [{"backendRefs": backends}]}
            there = self._store.find(ROUTES, metadata["namespace"], name)
            if there is None:
                made = {"name": name, "namespace": metadata["namespace"], "ownerReferences": [owner_reference(isvc)]}
                self._store.create(ROUTES, {"metadata": made, "spec": spec})
            elif there["spec"] != spec:
                self._store.change(ROUTES, metadata["namespace"], name, lambda one, spec=spec: {**one, "spec": spec})

    def accept(self, namespace: str, name: str) -> None:
        """Take an HTTPRoute over; the proxies follow."""
        route = self._store.find(ROUTES, namespace, name)
        if route is None or not self.followed:
            return
        seen = {"observedGeneration": route["metadata"]["generation"]}
        conditions = [{"type": kind, "status": "True", **seen} for kind in ("Accepted", "ResolvedRefs")]
        parents = [{"parentRef": GATEWAY, "controllerName": "example.com/gateway", "conditions": conditions}]
        backends = [(one["name"], one.get("weight", 1)) for one in route["spec"]["rules"][0]["backendRefs"]]
        self._store.set_status(ROUTES, namespace, name, {"parents": parents})
        follow = partial(self._backends.__setitem__, (namespace, name), backends)
        self._cluster.clock.after(self._cluster.seconds["proxies"], follow)

    def backends(self, namespace: str, name: str) -> list[tuple[str, int]]:
        """The Services behind an HTTPRoute as the proxies know them, each with its weight."""
        return self._backends.get((namespace, name), [])


def _backend(service: str) -> Object:
    return {"kind": "Service", "name": service, "port": 80}
