"""KServe's controller in Knative mode, for which there is no recording: what it does here rests on documents.

* Each change of the predictor makes a revision, with pods of its own. It gets traffic once it is ready; until then the
  last one that is ready keeps it. With `canaryTrafficPercent` the new one gets that part, and the rest stays with the
  last one that had all of it (`latestRolledoutRevision`); without it, or with 100, the new one gets all. 0 after that
  goes back to the one before (`previousRolledoutRevision`).
  https://kserve.github.io/website/docs/model-serving/predictive-inference/rollout-strategies/canary
* With the annotation serving.kserve.io/enable-tag-routing the two have addresses of their own, by the tags `latest`
  and `prev` in `components.predictor.traffic`.
  https://kserve.github.io/website/docs/model-serving/predictive-inference/rollout-strategies/canary-example
* A revision without traffic has no pods; a request for a revision that has none waits until it has.
  https://knative.dev/docs/serving/autoscaling/scale-to-zero/
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

from tests.support.kubernetes_resources import KNATIVE, by_kind
from tests.support.kubernetes_store import DEPLOYMENTS, INFERENCE_SERVICES, Object, owner_reference

if TYPE_CHECKING:
    from tests.support.kubernetes_cluster import Cluster
    from tests.support.kubernetes_status import Statuses

MODES = ("Knative", "Serverless")
REVISIONS = by_kind("Revision", KNATIVE)
LABEL = "serving.knative.dev/revision"
TAGS = "serving.kserve.io/enable-tag-routing"
CONDITIONS = ("IngressReady", "LatestDeploymentReady", "PredictorConfigurationReady", "PredictorReady")
CONDITIONS = (*CONDITIONS, "PredictorRouteReady", "Ready", "RoutesReady")


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
        template = wanted["spec"]["template"]
        mark = f"{zlib.crc32(json.dumps(template, sort_keys=True).encode()):08x}"
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
        if share == 0 and rolled_out == ready[-1]:  # it had all of it: back to the one before
            rolled_out = known.get("previousRolledoutRevision") or rolled_out
        parts = [{"latestRevision": True, "percent": share, "revisionName": ready[-1], "tag": "latest"}]
        if share < 100:
            old = {"latestRevision": False, "percent": 100 - share, "revisionName": rolled_out, "tag": "prev"}
            parts.append(old)
        if isvc["metadata"].get("annotations", {}).get(TAGS) != "true":
            return [{key: value for key, value in one.items() if key != "tag"} for one in parts]
        namespace = isvc["metadata"]["namespace"]
        return [{**one, "url": self._cluster.open_revision(namespace, one["revisionName"])} for one in parts]

    def _scale(self, isvc: Object, revisions: list[Object], created: str, parts: list[Object]) -> None:
        used = {created, *(one["revisionName"] for one in parts)}
        least = max(1, isvc["spec"]["predictor"].get("minReplicas", 1))
        for one in revisions:
            name, namespace = one["metadata"]["name"], one["metadata"]["namespace"]
            replicas = least if name in used else 0

            def change(work: Object, replicas: int = replicas) -> Object:
                return {**work, "spec": {**work["spec"], "replicas": replicas}}

            self._store.change(DEPLOYMENTS, namespace, f"{name}-deployment", change)

    def _status(self, isvc: Object, created: str, ready: list[str], parts: list[Object], known: Object) -> Object:
        metadata = isvc["metadata"]
        is_ready = bool(ready) and ready[-1] == created
        word = "True" if is_ready else "Unknown"
        deployment = self._store.get(DEPLOYMENTS, metadata["namespace"], f"{created}-deployment")
        failed = [one for one in deployment.get("status", {}).get("conditions", []) if _stuck(one)]
        told = {"reason": failed[0]["reason"], "message": failed[0]["message"]} if failed and not is_ready else {}
        conditions: list[Object] = [{"type": kind, "status": "False" if told else word, **told} for kind in CONDITIONS]
        conditions.append({"type": "Stopped", "status": "False", "severity": "Info"})
        predictor = {**known, "latestCreatedRevision": created, "traffic": parts}
        if ready:
            predictor["latestReadyRevision"] = ready[-1]
        rolled_out = known.get("latestRolledoutRevision")
        if parts and parts[0]["percent"] == 100 and rolled_out != ready[-1]:
            predictor |= {"latestRolledoutRevision": ready[-1]}
            predictor |= {"previousRolledoutRevision": rolled_out} if rolled_out else {}
        elif len(parts) > 1 and parts[0]["percent"] == 0 and rolled_out == ready[-1]:
            predictor["latestRolledoutRevision"] = parts[1]["revisionName"]
        url = self._cluster.open_gateway(metadata["namespace"], metadata["name"])
        model = self._statuses.model(isvc, is_ready, f"{LABEL}={created}")
        status: Object = {"address": {"url": url}, "url": url, "conditions": conditions, "deploymentMode": "Knative"}
        return {**status, "components": {"predictor": {**predictor, "url": url}}, "modelStatus": model}


def _stuck(condition: Object) -> bool:
    return (condition["type"], condition["status"]) in (("Progressing", "False"), ("ReplicaFailure", "True"))
