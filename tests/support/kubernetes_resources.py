"""The kinds of objects that the fake Kubernetes API knows, and its answers to "what is there?" (discovery)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Resource:
    """One kind of object.

    Attributes:
        group: API group; "" for the core one.
        version: Version of the group.
        plural: Its name in addresses and in rights.
        kind: Its name in objects.
        namespaced: Whether its objects lie in namespaces.
        crd: Whether it exists only where somebody has installed it.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    crd: bool = False

    @property
    def api_version(self) -> str:
        """As objects have it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full_name(self) -> str:
        """As error messages have it: inferenceservices.serving.kserve.io."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


KSERVE, TRAINER, JOBSET = "serving.kserve.io", "trainer.kubeflow.org", "jobset.x-k8s.io"
GATEWAY, KNATIVE = "gateway.networking.k8s.io", "serving.knative.dev"

RESOURCES = [
    Resource("", "v1", "namespaces", "Namespace", namespaced=False),
    Resource("", "v1", "pods", "Pod"),
    Resource("", "v1", "services", "Service"),
    Resource("", "v1", "endpoints", "Endpoints"),
    Resource("", "v1", "secrets", "Secret"),
    Resource("", "v1", "serviceaccounts", "ServiceAccount"),
    Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    Resource("", "v1", "configmaps", "ConfigMap"),
    Resource("", "v1", "events", "Event"),
    Resource("", "v1", "resourcequotas", "ResourceQuota"),
    Resource("apps", "v1", "deployments", "Deployment"),
    Resource("apps", "v1", "replicasets", "ReplicaSet"),
    Resource("batch", "v1", "jobs", "Job"),
    Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False),
    Resource(KSERVE, "v1beta1", "inferenceservices", "InferenceService", crd=True),
    Resource(KSERVE, "v1alpha1", "servingruntimes", "ServingRuntime", crd=True),
    Resource(KSERVE, "v1alpha1", "clusterservingruntimes", "ClusterServingRuntime", namespaced=False, crd=True),
    Resource(KSERVE, "v1alpha1", "clusterstoragecontainers", "ClusterStorageContainer", namespaced=False, crd=True),
    Resource(TRAINER, "v1alpha1", "trainjobs", "TrainJob", crd=True),
    Resource(TRAINER, "v1alpha1", "trainingruntimes", "TrainingRuntime", crd=True),
    Resource(TRAINER, "v1alpha1", "clustertrainingruntimes", "ClusterTrainingRuntime", namespaced=False, crd=True),
    Resource(JOBSET, "v1alpha2", "jobsets", "JobSet", crd=True),
    Resource(GATEWAY, "v1", "httproutes", "HTTPRoute", crd=True),
    Resource(GATEWAY, "v1", "gateways", "Gateway", crd=True),
    Resource(KNATIVE, "v1", "services", "Service", crd=True),
    Resource(KNATIVE, "v1", "revisions", "Revision", crd=True),
    Resource("kubeflow.org", "v1", "tfjobs", "TFJob", crd=True),
]


def by_kind(kind: str, group: str | None = None) -> Resource:
    """The resource of a kind; with `group` of that one."""
    return next(one for one in RESOURCES if one.kind == kind and group in (None, one.group))


@dataclass(frozen=True)
class Target:
    """What an address names: a collection (without a name), an object, or a part of it such as its log."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    part: str = ""


_ADDRESS = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<part>[^/]+))?"
)


def find_target(path: str, groups: set[str]) -> Target | None:
    """What a path names, of the groups that are there; None for nothing."""
    if found := re.fullmatch(r"/api/v1/namespaces(?:/([^/]+))?", path):
        return Target(by_kind("Namespace"), name=found[1] or "")
    match = _ADDRESS.fullmatch(path)
    if not match:
        return None
    for one in RESOURCES:
        where = (one.group, one.version, one.plural)
        if where == (match["group"] or "", match["version"], match["plural"]) and one.group in groups:
            return Target(one, match["namespace"] or "", match["name"] or "", match["part"] or "")
    return None


SCHEMAS = f"/openapi/v3/apis/{KSERVE}/v1beta1"


def schemas_of_inference_services(fields: list[str]) -> dict[str, Any]:
    """What the API says at `SCHEMAS`: the names of the fields of their spec; the rest is left out."""
    spec = {"type": "object", "properties": {name: {} for name in fields}}
    kinds = [{"group": KSERVE, "kind": "InferenceService", "version": "v1beta1"}]
    schema = {"type": "object", "properties": {"spec": spec}, "x-kubernetes-group-version-kind": kinds}
    return {"openapi": "3.0.0", "components": {"schemas": {"io.kserve.serving.v1beta1.InferenceService": schema}}}


def discover(path: str, groups: set[str]) -> dict[str, Any] | None:
    """The answer to a question of discovery; None where it is no such question, or nothing is there."""
    if path == "/version":
        build = dict.fromkeys(("buildDate", "compiler", "gitCommit", "gitTreeState", "goVersion"), "")
        return {"major": "1", "minor": "34", "gitVersion": "v1.34.0", "platform": "linux/amd64", **build}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    there = [one for one in RESOURCES if one.group in groups]
    if path == "/apis":
        names = sorted({one.group for one in there if one.group})
        listed = [_group(name, there) for name in names]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
    found = re.fullmatch(r"/(?:api|apis/([^/]+))(?:/([^/]+))?", path)
    of_group = [one for one in there if found and one.group == (found[1] or "")]
    if not found or not of_group:
        return None
    if found[2] is None:
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(found[1], there)}
    resources = [entry for one in of_group if one.version == found[2] for entry in _entries(one)]
    if not resources:
        return None
    group_version = "/".join(part for part in found.groups() if part)
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}


def _group(name: str, there: list[Resource]) -> dict[str, Any]:
    versions = sorted({one.version for one in there if one.group == name}, reverse=True)
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _entries(one: Resource) -> list[dict[str, Any]]:
    verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    entry = {"name": one.plural, "singularName": one.kind.lower(), "namespaced": one.namespaced, "kind": one.kind}
    status = {**entry, "name": f"{one.plural}/status", "verbs": ["get", "patch", "update"]}
    return [{**entry, "verbs": verbs}, status]
