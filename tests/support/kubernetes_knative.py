"""KServe's controller in Knative mode, for which there is no recording: what it does here rests on documents.

The documents are KServe's pages, and where they are silent its source of August 2026 (0.20):

* Each change of the predictor (its minReplicas and maxReplicas are annotations of the revision) or of an annotation
  makes a revision, with pods of its own. It gets traffic once it is
  ready; until then the last one that is ready keeps it. With `canaryTrafficPercent` the new one gets that part, and the
  rest stays with the last one that had all of it (`latestRolledoutRevision`); without it, or with 100, or where none
  ever had all of it, the new one gets all.
  https://kserve.github.io/website/docs/model-serving/predictive-inference/rollout-strategies/canary
  pkg/controller/v1beta1/inferenceservice/reconcilers/knative/ksvc_reconciler.go
* So a part above 0 goes to the revision before while the new one is not ready, also where that one was taken back:
  https://github.com/kserve/kserve/issues/2130
* Less than 100 for the revision that had all of it goes back to the one before (`previousRolledoutRevision`), where
  there is one: first the status names that one, then the traffic follows.
  pkg/apis/serving/v1beta1/inference_service_status.go, PropagateStatus
* With the annotation serving.kserve.io/enable-tag-routing the latest has an address of its own, by the tag `latest` in
  `components.predictor.traffic`; the one before has the tag `prev` always.
  https://kserve.github.io/website/docs/model-serving/predictive-inference/rollout-strategies/canary-example
* A revision that has lost its place in the traffic has no pods after the stable window, 60 s; one with 0 % has them.
  https://knative.dev/docs/serving/autoscaling/kpa-specific/
  https://knative.dev/docs/serving/autoscaling/scale-to-zero/
* With the annotation serving.kserve.io/stop the Knative Service and its revisions are deleted, and the status is
  emptied. Started again, the revisions begin at 00001, and the only one gets all requests, whatever the part.
  pkg/controller/v1beta1/inferenceservice/reconcilers/knative/ksvc_reconciler.go, components/predictor.go
* Without Knative Serving nothing happens.
  pkg/controller/v1beta1/inferenceservice/controller.go
"""

from __future__ import annotations

import json
import zlib
from functools import partial
from typing import TYPE_CHECKING

from tests.support.kubernetes_resources import KNATIVE, by_kind
from tests.support.kubernetes_store import DEPLOYMENTS, INFERENCE_SERVICES, Object, owner_reference

if TYPE_CHECKING:
    from tests.support.kubernetes_cluster import Cluster
    from tests.support.kubernetes_status import Statuses

REVISIONS = by_kind("Revision", KNATIVE)
LABEL = "serving.knative.dev/revision"
TAGS = "serving.kserve.io/enable-tag-routing"
OF_PODS = ("LatestDeploymentReady", "PredictorConfigurationReady", "PredictorReady", "Ready")
OF_ROUTES = ("IngressReady", "PredictorRouteReady", "RoutesReady")


class Knative:
    """The controller.

    Args:
        cluster: Where it works.
        statuses: Writes the status.
    """

    def __init__(self, cluster: Cluster, statuses: Statuses) -> None:
        self._cluster, self._store, self._statuses = cluster, cluster.store, statuses

    def reconcile(self, isvc: Object, wanted: Object) -> None:
        """Make the revision that is wanted, move the traffic, write the status.

        Args:
            isvc: The InferenceService.
            wanted: The Deployment of its predictor, as in Standard mode.
        """
        if not self._cluster.knative:
            self._cluster.tell(isvc, "Warning", "ServerlessModeRejected", "Knative Services are not available")
            self._statuses.write(isvc, {**self._statuses.unknown(isvc), "deploymentMode": "Knative"})
            return
        created = self._make_revision(isvc, wanted)
        revisions = self._store.owned(REVISIONS, isvc["metadata"]["uid"])
        ready = [one["metadata"]["name"] for one in revisions if self._look(one)]
        known = isvc.get("status", {}).get("components", {}).get("predictor", {})
        parts = self._traffic(isvc, ready, known)
        self._scale(isvc, revisions, created, parts)
        self._statuses.write(isvc, self._status(isvc, created, ready, parts, known))

    def weights(self, namespace: str, name: str) -> list[tuple[str, int]]:
        """The revisions of an InferenceService, each with its part of the traffic."""
        isvc = self._store.find(INFERENCE_SERVICES, namespace, name) or {}
        traffic = isvc.get("status", {}).get("components", {}).get("predictor", {}).get("traffic", [])
        return [(one["revisionName"], one["percent"]) for one in traffic]

    def _make_revision(self, isvc: Object, wanted: Object) -> str:
        """The name of the revision for a predictor; it is made if it is another than the last."""
        template, predictor = wanted["spec"]["template"], isvc["spec"]["predictor"]
        marked = [template, predictor.get("minReplicas"), predictor.get("maxReplicas")]
        mark = f"{zlib.crc32(json.dumps(marked, sort_keys=True).encode()):08x}"
        metadata = isvc["metadata"]
        there = self._store.owned(REVISIONS, metadata["uid"])
        if there and there[-1]["metadata"]["annotations"]["template"] == mark:
            return str(there[-1]["metadata"]["name"])
        name = f"{metadata['name']}-predictor-{len(there) + 1:05}"
        made = {"name": name, "namespace": metadata["namespace"], "ownerReferences": [owner_reference(isvc)]}
        self._store.create(
            REVISIONS, {"metadata": {**made, "annotations": {"template": mark}}, "spec": template["spec"]}
        )
        deployment = json.loads(json.dumps(wanted))
        deployment["metadata"] |= {"name": f"{name}-deployment"}
        deployment["spec"]["selector"] = {"matchLabels": {LABEL: name}}
        for part in (deployment["metadata"], deployment["spec"]["template"]["metadata"]):
            part["labels"] |= {LABEL: name, "app": name}
        self._store.create(DEPLOYMENTS, deployment)
        return name

    def _look(self, revision: Object) -> bool:
        """Whether a revision is ready; once it was, it is."""
        if revision.get("status", {}).get("ready"):
            return True
        metadata = revision["metadata"]
        deployment = self._store.find(DEPLOYMENTS, metadata["namespace"], f"{metadata['name']}-deployment") or {}
        if not deployment.get("status", {}).get("availableReplicas"):
            return False
        self._store.set_status(REVISIONS, metadata["namespace"], metadata["name"], {"ready": True})
        return True

    def _traffic(self, isvc: Object, ready: list[str], known: Object) -> list[Object]:
        """Who gets which part; nobody while nothing is ready."""
        if not ready:
            return []
        share, rolled_out = isvc["spec"]["predictor"].get("canaryTrafficPercent"), known.get("latestRolledoutRevision")
        if share is None or not rolled_out:
            share = 100
        latest: Object = {"latestRevision": True, "percent": share, "revisionName": ready[-1]}
        if isvc["metadata"].get("annotations", {}).get(TAGS) == "true":
            latest["tag"] = "latest"
        parts = [latest]
        if share < 100:
            parts.append({"latestRevision": False, "percent": 100 - share, "revisionName": rolled_out, "tag": "prev"})
        namespace = isvc["metadata"]["namespace"]
        for one in parts:
            if "tag" in one:
                one["url"] = self._cluster.open_revision(namespace, one["revisionName"])
        return parts

    def _scale(self, isvc: Object, revisions: list[Object], created: str, parts: list[Object]) -> None:
        used = {created, *(one["revisionName"] for one in parts)}
        least = max(1, isvc["spec"]["predictor"].get("minReplicas", 1))
        for one in revisions:
            namespace, name = one["metadata"]["namespace"], one["metadata"]["name"]
            if name in used:
                self._set_pods(namespace, name, least)
            else:
                where = (namespace, isvc["metadata"]["name"], name)
                self._cluster.clock.after(
                    self._cluster.seconds["retire"], partial(self._retire, *where), ("retire", *where)
                )

    def _retire(self, namespace: str, isvc: str, revision: str) -> None:
        """End the pods of a revision that has no place in the traffic any more."""
        there = self._store.find(INFERENCE_SERVICES, namespace, isvc) or {}
        created = there.get("status", {}).get("components", {}).get("predictor", {}).get("latestCreatedRevision")
        if revision not in (created, *(name for name, _ in self.weights(namespace, isvc))):
            self._set_pods(namespace, revision, 0)

    def _set_pods(self, namespace: str, revision: str, replicas: int) -> None:
        name = f"{revision}-deployment"
        if self._store.find(DEPLOYMENTS, namespace, name):
            self._store.change(
                DEPLOYMENTS, namespace, name, lambda work: {**work, "spec": {**work["spec"], "replicas": replicas}}
            )

    def _status(self, isvc: Object, created: str, ready: list[str], parts: list[Object], known: Object) -> Object:
        metadata = isvc["metadata"]
        is_ready = bool(ready) and ready[-1] == created
        word = "True" if is_ready else "Unknown"
        deployment = self._store.get(DEPLOYMENTS, metadata["namespace"], f"{created}-deployment")
        failed = [one for one in deployment.get("status", {}).get("conditions", []) if _stuck(one)]
        told: Object = {}
        if failed and not is_ready:
            message = f'Revision "{created}" failed with message: {failed[0]["message"]}.'
            told = {"reason": "RevisionFailed", "message": message}
        conditions: list[Object] = [{"type": kind, "status": "False" if told else word, **told} for kind in OF_PODS]
        conditions += [{"type": kind, "status": "True" if parts else "Unknown"} for kind in OF_ROUTES]
        conditions.append({"type": "Stopped", "status": "False", "severity": "Info"})
        predictor = {**known, "latestCreatedRevision": created, "traffic": parts}
        if ready:
            predictor["latestReadyRevision"] = ready[-1]
        predictor |= _rolled_out(known, parts, created)
        url = self._cluster.open_gateway(metadata["namespace"], metadata["name"])
        model = self._statuses.model(isvc, is_ready, f"{LABEL}={created}")
        status: Object = {"address": {"url": url}, "url": url, "conditions": conditions, "deploymentMode": "Knative"}
        return {**status, "components": {"predictor": {**predictor, "url": url}}, "modelStatus": model}


def _rolled_out(known: Object, parts: list[Object], created: str) -> Object:
    """The revisions that the status then names as the last one with all traffic, and the one before."""
    if not parts:
        return {}
    latest, last, previous = parts[0], known.get("latestRolledoutRevision"), known.get("previousRolledoutRevision")
    if latest["revisionName"] != last:
        if latest["percent"] < 100:
            return {}
        there = {"latestRolledoutRevision": latest["revisionName"]}
        return there | ({"previousRolledoutRevision": last} if last else {})
    whole = sum(one["percent"] for one in parts if one["revisionName"] == last) == 100
    if latest["percent"] < 100 and whole and last == created and previous:
        return {"latestRolledoutRevision": previous}
    return {}


def _stuck(condition: Object) -> bool:
    return (condition["type"], condition["status"]) in (("Progressing", "False"), ("ReplicaFailure", "True"))
