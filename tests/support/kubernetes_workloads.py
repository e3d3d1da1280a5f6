"""The controllers of the fake cluster for Deployments, ReplicaSets, endpoints and autoscalers.

They do what Kubernetes' own do, as far as the recordings show it: a rolling update with a surge of 25 % and 0 to 25 %
unavailable, the old pods kept until the new ones are ready, 600 s until a roll counts as stuck.
"""

from __future__ import annotations

import copy
import json
import math
import zlib
from typing import TYPE_CHECKING

from tests.support.kubernetes_store import (
    DEPLOYMENTS,
    HPAS,
    PODS,
    REPLICASETS,
    SERVICES,
    SLICES,
    ApiError,
    Object,
    owner_reference,
    suffix,
)

if TYPE_CHECKING:
    from tests.support.kubernetes_cluster import Cluster

DEADLINE_SECONDS = 600
HPA_SECONDS = 15
HASH = "pod-template-hash"


class Workloads:
    """The controllers.

    Args:
        cluster: Where they work.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._store = cluster, cluster.store
        self._progress: dict[str, float] = {}  # uid of a Deployment -> when its roll last progressed
        # uid of a ReplicaSet that could not make a pod -> when it tries again, and how long it waits then
        self._waits: dict[str, tuple[float, float]] = {}

    # Deployments

    def sync_deployment(self, namespace: str, name: str) -> None:
        """One step of a Deployment towards what it should be."""
        deployment = self._store.find(DEPLOYMENTS, namespace, name)
        if deployment is None or name in self._cluster.held:
            return
        sets = self._store.owned(REPLICASETS, deployment["metadata"]["uid"])
        wanted = template_hash(deployment)
        new = next((one for one in sets if one["metadata"]["labels"][HASH] == wanted), None)
        old = [one for one in sets if one is not new]
        if new is None:
            self._make_set(deployment, old, wanted)
            return
        self._scale(deployment, new, old)
        self._set_status(deployment, new["metadata"]["name"])

    def _make_set(self, deployment: Object, old: list[Object], wanted: str) -> None:
        spec, metadata = deployment["spec"], deployment["metadata"]
        name = f"{metadata['name']}-{wanted}"
        surge = math.ceil(spec["replicas"] * 0.25)
        room = spec["replicas"] + surge - sum(one["spec"]["replicas"] for one in old)
        template = copy.deepcopy(spec["template"])
        template["metadata"]["labels"][HASH] = wanted
        labels = template["metadata"]["labels"]
        revision = 1 + max(
            [int(one["metadata"]["annotations"]["deployment.kubernetes.io/revision"]) for one in old] or [0]
        )
        annotations = {**metadata.get("annotations", {}), "deployment.kubernetes.io/revision": str(revision)}
        made = {"name": name, "namespace": metadata["namespace"], "labels": labels, "annotations": annotations}
        made |= {"ownerReferences": [owner_reference(deployment)]}
        replicas = max(0, min(spec["replicas"], room))
        selector = {"matchLabels": {**spec["selector"]["matchLabels"], HASH: wanted}}
        body = {"metadata": made, "spec": {"replicas": replicas, "selector": selector, "template": template}}
        self._store.create(REPLICASETS, {**body, "status": {"replicas": 0}})
        self._event(deployment, "Normal", "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {replicas}")
        status = copy.deepcopy(deployment.get("status", {}))
        created = self._condition("Progressing", "True", "NewReplicaSetCreated", f'Created new replica set "{name}"')
        _put(status, created)
        self._progress[metadata["uid"]] = self._cluster.clock.now()
        self._store.set_status(DEPLOYMENTS, metadata["namespace"], metadata["name"], status)

    def _scale(self, deployment: Object, new: Object, old: list[Object]) -> None:
        replicas = deployment["spec"]["replicas"]
        surge, unavailable = math.ceil(replicas * 0.25), math.floor(replicas * 0.25)
        total = sum(one["spec"]["replicas"] for one in [new, *old])
        have = new["spec"]["replicas"]
        if have > replicas or (have < replicas and total < replicas + surge):
            self._resize(deployment, new, min(replicas, have + max(0, replicas + surge - total)))
            return
        spare = total - (replicas - unavailable) - (have - _available(new))
        for one in sorted(old, key=lambda one: (_available(one), one["metadata"]["name"])):
            here = one["spec"]["replicas"]
            unready = here - _available(one)
            drop = min(here, spare, unready if unready else here)  # what is not ready goes first
            if drop > 0:
                self._resize(deployment, one, here - drop)
                return

    def _resize(self, deployment: Object, one: Object, replicas: int) -> None:
        metadata = one["metadata"]
        before = one["spec"]["replicas"]
        self._store.change(
            REPLICASETS,
            metadata["namespace"],
            metadata["name"],
            lambda work: {**work, "spec": {**work["spec"], "replicas": replicas}},
        )
        way = "up" if replicas > before else "down"
        message = f"Scaled {way} replica set {metadata['name']} from {before} to {replicas}"
        self._event(deployment, "Normal", "ScalingReplicaSet", message)
        self._cluster.enqueue(0.03, "deployment", metadata["namespace"], deployment["metadata"]["name"])

    def _set_status(self, deployment: Object, new_name: str) -> None:
        metadata, replicas = deployment["metadata"], deployment["spec"]["replicas"]
        sets = self._store.owned(REPLICASETS, metadata["uid"])
        new = next(one for one in sets if one["metadata"]["name"] == new_name)
        numbers = {
            "replicas": sum(one["status"].get("replicas", 0) for one in sets),
            "updatedReplicas": new["status"].get("replicas", 0),
            "readyReplicas": sum(one["status"].get("readyReplicas", 0) for one in sets),
            "availableReplicas": sum(_available(one) for one in sets),
        }
        missing = max(0, sum(one["spec"]["replicas"] for one in sets) - numbers["availableReplicas"])
        status: Object = {"observedGeneration": metadata["generation"]}
        status |= {name: value for name, value in numbers.items() if value}
        status |= {"unavailableReplicas": missing} if missing else {}
        status["conditions"] = copy.deepcopy(deployment.get("status", {}).get("conditions", []))
        enough = numbers["availableReplicas"] >= replicas - math.floor(replicas * 0.25)
        if enough:
            fine = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
            _put(status, self._condition("Available", *fine))
        else:
            lacking = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
            _put(status, self._condition("Available", *lacking))
        self._put_progress(status, deployment, new, numbers)
        failures = [
            c for one in [new, *sets] for c in one["status"].get("conditions", []) if c["type"] == "ReplicaFailure"
        ]
        if failures:
            _put(status, failures[0])
        else:
            status["conditions"] = [one for one in status["conditions"] if one["type"] != "ReplicaFailure"]
        self._store.set_status(DEPLOYMENTS, metadata["namespace"], metadata["name"], status)

    def _put_progress(self, status: Object, deployment: Object, new: Object, numbers: dict[str, int]) -> None:
        metadata, replicas, name = deployment["metadata"], deployment["spec"]["replicas"], new["metadata"]["name"]
        all_new = numbers["replicas"] == numbers["updatedReplicas"]
        if all_new and _has(status, "Progressing", "NewReplicaSetAvailable"):
            return  # a roll that is over stays over, whatever becomes of its pods
        now, before = self._cluster.clock.now(), deployment.get("status", {})
        gone = before.get("replicas", 0) - before.get("updatedReplicas", 0)
        if all_new and numbers["updatedReplicas"] == replicas == numbers["availableReplicas"]:
            message = f'ReplicaSet "{name}" has successfully progressed.'
            _put(status, self._condition("Progressing", "True", "NewReplicaSetAvailable", message))
        elif numbers["replicas"] - numbers["updatedReplicas"] < gone or any(
            numbers[one] > before.get(one, 0) for one in ("updatedReplicas", "readyReplicas", "availableReplicas")
        ):
            self._progress[metadata["uid"]] = now
            where = (metadata["namespace"], metadata["name"])
            self._cluster.enqueue(DEADLINE_SECONDS + 0.01, "deployment", *where, f"deadline {now}")
            message = f'ReplicaSet "{name}" is progressing.'
            _put(status, self._condition("Progressing", "True", "ReplicaSetUpdated", message))
        elif _has(status, "Progressing", "NewReplicaSetAvailable"):
            return  # back to a ReplicaSet that is known: nothing moves yet
        elif now - self._progress.get(metadata["uid"], now) >= DEADLINE_SECONDS:
            message = f'ReplicaSet "{name}" has timed out progressing.'
            _put(status, self._condition("Progressing", "False", "ProgressDeadlineExceeded", message))

    # ReplicaSets

    def sync_set(self, namespace: str, name: str) -> None:
        """Make or delete pods, and count them."""
        one = self._store.find(REPLICASETS, namespace, name)
        if one is None:
            return
        mine = self._store.owned(PODS, one["metadata"]["uid"])
        pods = [pod for pod in mine if not pod["metadata"].get("deletionTimestamp")]
        missing, now = one["spec"]["replicas"] - len(pods), self._cluster.clock.now()
        failure: Object | None = None
        if missing > 0 and now < self._waits.get(one["metadata"]["uid"], (0.0, 0.0))[0]:
            failure = next(iter(one["status"].get("conditions", [])), None)
            missing = 0
        for _ in range(missing):
            try:
                pods.append(self._make_pod(one))
            except ApiError as error:
                failure = self._condition("ReplicaFailure", "True", "FailedCreate", error.message)
                self._event(one, "Warning", "FailedCreate", f"Error creating: {error.message}")
                self._try_again(one)
                break
        for pod in sorted(pods, key=is_ready)[: max(0, len(pods) - one["spec"]["replicas"])]:
            self._store.delete(PODS, namespace, pod["metadata"]["name"])
            self._event(one, "Normal", "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
            pods.remove(pod)
        ready = sum(map(is_ready, pods))
        status: Object = {"replicas": len(pods), "observedGeneration": one["metadata"]["generation"]}
        if pods:
            status["fullyLabeledReplicas"] = len(pods)
        if ready:
            status |= {"readyReplicas": ready, "availableReplicas": ready}
        if failure:
            status["conditions"] = [failure]
        self._store.set_status(REPLICASETS, namespace, name, status)

    def _make_pod(self, one: Object) -> Object:
        template, metadata = copy.deepcopy(one["spec"]["template"]), one["metadata"]
        name = f"{metadata['name']}-{suffix()}"
        made = {**template["metadata"], "name": name, "namespace": metadata["namespace"]}
        made["ownerReferences"] = [owner_reference(one)]
        pod = self._cluster.make_pod({"metadata": made, "spec": template["spec"], "status": {"phase": "Pending"}})
        self._event(one, "Normal", "SuccessfulCreate", f"Created pod: {name}")
        self._waits.pop(metadata["uid"], None)
        return pod

    def _try_again(self, one: Object) -> None:
        """After 5, 10, 20 ... seconds, so that a quota that is raised is not seen at once."""
        metadata = one["metadata"]
        wait = self._waits.get(metadata["uid"], (0.0, 5.0))[1]
        self._waits[metadata["uid"]] = (self._cluster.clock.now() + wait, min(1000.0, 2 * wait))
        self._cluster.enqueue(wait, "replicaset", metadata["namespace"], metadata["name"], "again")

    # Endpoints

    def sync_endpoints(self, namespace: str, name: str) -> None:
        """The ready pods of a Service: a slice for each, as each has a port of its own here."""
        service = self._store.find(SERVICES, namespace, name)
        if service is None or not service["spec"].get("selector"):  # without one somebody else keeps its endpoints
            return
        wanted = {}
        labels = ",".join(f"{key}={value}" for key, value in service["spec"]["selector"].items())
        for pod in self._store.list(PODS, namespace, labels):
            if address := pod["status"].get("podIP"):
                wanted[f"{name}-{pod['metadata']['name'].rpartition('-')[2]}"] = self._slice(pod, address)
        label = "kubernetes.io/service-name"
        for there in self._store.list(SLICES, namespace, f"{label}={name}"):
            slice_name = there["metadata"]["name"]
            if slice_name in wanted:
                changed = wanted.pop(slice_name)
                self._store.change(SLICES, namespace, slice_name, lambda one, changed=changed: {**one, **changed})
            else:
                self._store.delete(SLICES, namespace, slice_name)
        for slice_name, content in wanted.items():
            metadata = {"name": slice_name, "namespace": namespace, "labels": {label: name}}
            metadata["ownerReferences"] = [owner_reference(service)]
            self._store.create(SLICES, {"metadata": metadata, "addressType": "IPv4", **content})

    def _slice(self, pod: Object, address: str) -> Object:
        leaves = bool(pod["metadata"].get("deletionTimestamp"))
        conditions = {"ready": is_ready(pod), "serving": is_ready(pod) or leaves, "terminating": leaves}
        reference = {"kind": "Pod", "name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]}
        port = pod["spec"]["containers"][0].get("ports", [{}])[0].get("containerPort")
        endpoint = {"addresses": [address], "conditions": conditions, "targetRef": reference}
        return {"endpoints": [endpoint], "ports": [{"name": "", "port": port, "protocol": "TCP"}]}

    # Autoscalers

    def sync_hpa(self, namespace: str, name: str) -> None:
        """Keep a Deployment within its bounds; the load is not played."""
        hpa = self._store.find(HPAS, namespace, name)
        if hpa is None:
            return
        self._cluster.enqueue(HPA_SECONDS, "hpa", namespace, name, "again")
        deployment = self._store.find(DEPLOYMENTS, namespace, hpa["spec"]["scaleTargetRef"]["name"])
        if deployment is None:
            return
        replicas = deployment["spec"]["replicas"]
        bounded = max(hpa["spec"]["minReplicas"], min(hpa["spec"]["maxReplicas"], replicas))
        if bounded != replicas:
            self._store.change(
                DEPLOYMENTS,
                namespace,
                deployment["metadata"]["name"],
                lambda work: {**work, "spec": {**work["spec"], "replicas": bounded}},
            )
        status = {"currentReplicas": replicas, "desiredReplicas": 0, "currentMetrics": [{"type": ""}]}
        self._store.set_status(HPAS, namespace, name, status)

    def _condition(self, kind: str, status: str, reason: str, message: str) -> Object:
        stamp = self._cluster.clock.stamp()
        known = {"type": kind, "status": status, "lastUpdateTime": stamp, "lastTransitionTime": stamp}
        return {**known, "reason": reason, "message": message}

    def _event(self, one: Object, kind: str, reason: str, message: str) -> None:
        self._cluster.tell(one, kind, reason, message)


def template_hash(deployment: Object) -> str:
    """The end of the name of the ReplicaSet for a template: the same for the same template."""
    text = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return f"{zlib.crc32(text.encode()):08x}".translate(str.maketrans("013aeiou", "bcdfghjk"))


def is_ready(pod: Object) -> bool:
    """Whether a pod is ready and stays."""
    conditions = pod.get("status", {}).get("conditions", [])
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def _available(one: Object) -> int:
    return one.get("status", {}).get("availableReplicas", 0)


def _has(status: Object, kind: str, reason: str) -> bool:
    return any((one["type"], one["reason"]) == (kind, reason) for one in status["conditions"])


def _put(status: Object, condition: Object) -> None:
    """Put a condition in the place of the one of its type; one that says the same stays."""
    conditions = status.setdefault("conditions", [])
    for index, one in enumerate(conditions):
        if one["type"] == condition["type"]:
            same = all(one.get(field) == condition.get(field) for field in ("status", "reason", "message"))
            if not same:
                kept = {"lastTransitionTime": one["lastTransitionTime"]} if one["status"] == condition["status"] else {}
                conditions[index] = {**condition, **kept}
            return
    conditions.append(condition)
