"""The cluster behind the fake Kubernetes API: its objects, its clock, its controllers, and the switches of a test."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.support.kubernetes_clock import Clock
from tests.support.kubernetes_gateway import ROUTES, Gateway
from tests.support.kubernetes_kserve import KServe
from tests.support.kubernetes_pods import Kubelet
from tests.support.kubernetes_predictors import Front, Model, Predictor, weighted
from tests.support.kubernetes_resources import GATEWAY, JOBSET, KNATIVE, KSERVE, RESOURCES, TRAINER, Resource, by_kind
from tests.support.kubernetes_store import (
    CLAIMS,
    DEPLOYMENTS,
    EVENTS,
    HPAS,
    INFERENCE_SERVICES,
    PODS,
    REPLICASETS,
    SERVICES,
    ApiError,
    Event,
    Object,
    Store,
)
from tests.support.kubernetes_webhooks import add_defaults, add_model, refuse_invalid, refuse_other_mode
from tests.support.kubernetes_workloads import Workloads, is_ready

REVISION = "serving.knative.dev/revision"
WAIT_SECONDS = 5.0
CORE = {"", "apps", "batch", "autoscaling", "discovery.k8s.io", "apiextensions.k8s.io"}
WEBHOOK_DOWN = (
    'Internal error occurred: failed calling webhook "inferenceservice.kserve-webhook-server.{name}": failed to call '
    'webhook: Post "https://127.0.0.1:9443/{path}?timeout=10s": dial tcp 127.0.0.1:9443: connect: connection refused'
)


class Cluster:
    """The cluster.

    Args:
        factor: How much faster than the clock on the wall it runs; 0: `clock.advance` moves it.

    Attributes:
        models: What lies at the addresses of models, such as pvc://models/a. Where nothing lies, nothing loads.
        find_model: Gives the model of an address, or None; by default looks it up in `models`.
        missing_images: Images that cannot be pulled.
        buckets: Buckets and hosts that exist; None: all do.
        quota: How many pods a namespace may have; None: no bound.
        node_cpu: How many CPUs the one node has.
        ends_without_model: Whether our server ends, with the reason, when its first model cannot be loaded. The
            recordings are of a server that waits instead.
        default_mode: Of InferenceServices without the annotation serving.kserve.io/deploymentMode: "Standard" or
            "Knative".
        kserve, gateway_api, knative, trainer, tf_operator: Whether they are installed.
        canaries: Whether the CustomResourceDefinition of InferenceServices has `spec.canary`.
        dns: Whether Services have addresses by name, which only this process and `resolve_services` know.
        seconds: How long things take, in cluster time.
        downloads: Whether the model of a pod may be there already; a pod of which it may not waits.
        held: Names of Deployments that their controller does not look at for now.
        addresses: The address of each Service, by namespace and name.
        ended: Whether the cluster is gone.
    """

    def __init__(self, factor: float = 50.0) -> None:
        self.store = Store(lambda: self.clock.stamp())
        self.clock = Clock(factor, self.store.lock)
        self.models: dict[str, Model] = {}
        self.find_model: Callable[[str], Model | None] = lambda uri: self.models.get(uri)
        self.missing_images: set[str] = set()
        self.buckets: set[str] | None = None
        self.quota: int | None = None
        self.node_cpu = 64.0
        self.ends_without_model = False
        self._controller = True
        self.held: set[str] = set()
        self.default_mode = "Standard"
        self.kserve, self.gateway_api, self.knative, self.trainer, self.tf_operator = True, False, False, True, False
        self.canaries, self.dns = True, False
        self.seconds = {"end": 1.4, "download": 2.0, "pull": 0.5, "retire": 60.0, "routes": 0.05, "proxies": 1.0}
        self.downloads: Callable[[Object], bool] = lambda pod: True
        self.addresses: dict[tuple[str, str], str] = {}
        self.ended = False
        self.workloads, self.kubelet, self.kserve_controller = Workloads(self), Kubelet(self), KServe(self)
        self.gateway = Gateway(self)
        self._fronts: dict[tuple[str, str], Front] = {}
        self._by_name = Front(self._choose_by_host)
        self._numbers = itertools.count(1)
        self._told: dict[tuple[str, str, str], str] = {}  # events by object, reason and message
        self.store.listeners.append(self._on_event)

    @property
    def controller(self) -> bool:
        """Whether KServe's controller runs; once it runs again it looks at everything."""
        return self._controller

    @controller.setter
    def controller(self, running: bool) -> None:
        self._controller = running
        for one in self.store.list(INFERENCE_SERVICES) if running else []:
            self.enqueue(0.1, "kserve", one["metadata"]["namespace"], one["metadata"]["name"])

    def release(self, namespace: str, deployment: str) -> None:
        """Let the controller of Deployments look at one again that is in `held`."""
        self.held.discard(deployment)
        self.enqueue(0.1, "deployment", namespace, deployment)

    def start(self) -> None:
        """Begin to work."""
        self.clock.start()

    def stop(self) -> None:
        """End, with all that runs in it."""
        with self.store.lock:
            self.ended = True
            self.store.changed.notify_all()
        self.clock.stop()
        for front in self._fronts.values():
            front.stop()
        self._by_name.stop()
        self.kubelet.stop()
        if self.clock.problem:
            raise self.clock.problem

    def groups(self) -> set[str]:
        """The groups of the API that are there."""
        optional = {
            KSERVE: self.kserve,
            GATEWAY: self.gateway_api,
            KNATIVE: self.knative,
            TRAINER: self.trainer,
            JOBSET: self.trainer,
            "kubeflow.org": self.tf_operator,
        }
        return CORE | {group for group, there in optional.items() if there}

    def add(self, kind: str, name: str, namespace: str = "default", **content: object) -> Object:
        """Put an object there, as somebody else would have."""
        resource = by_kind(kind)
        metadata = {"name": name, **({"namespace": namespace} if resource.namespaced else {})}
        return self.store.create(resource, {"metadata": metadata, **content})

    def add_runtime(self, name: str = "kfp-bert", format_: str = "kfp-bert", **container: object) -> Object:
        """A ClusterServingRuntime for our server, as the recordings have it; a None takes a field away."""
        probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 2, "timeoutSeconds": 2}
        made = {"name": "kserve-container", "image": "kfp-bert-components/serve:1", "command": ["kfp-bert"]}
        made |= {"args": ["serve", "/mnt/models", "--host", "0.0.0.0", "--port", "8080"]}
        made |= {"ports": [{"containerPort": 8080, "protocol": "TCP"}], "readinessProbe": probe, **container}
        formats = [{"name": format_, "version": "1", "autoSelect": True}]
        kept = {key: value for key, value in made.items() if value is not None}
        spec = {"supportedModelFormats": formats, "protocolVersions": ["v1"], "containers": [kept]}
        return self.add("ClusterServingRuntime", name, spec=spec)

    # What happens when something changes

    def enqueue(self, seconds: float, controller: str, namespace: str, name: str, mark: str = "") -> None:
        """Let a controller look at an object a while later, once."""
        controllers: dict[str, Callable[[str, str], None]] = {
            "deployment": self.workloads.sync_deployment,
            "replicaset": self.workloads.sync_set,
            "hpa": self.workloads.sync_hpa,
            "endpoints": self.workloads.sync_endpoints,
            "kserve": self.kserve_controller.reconcile,
            "routes": self.kserve_controller.reconcile_routes,
            "gateway": self.gateway.accept,
        }
        key = (controller, namespace, name, mark)
        self.clock.after(seconds, partial(controllers[controller], namespace, name), key)

    def _on_event(self, event: Event) -> None:
        metadata = event.object["metadata"]
        where = (metadata.get("namespace", ""), metadata["name"])
        if event.resource == INFERENCE_SERVICES:
            self.enqueue(0.05 if event.type == "ADDED" else 0.1, "kserve", *where)
        elif event.resource == DEPLOYMENTS:
            self.enqueue(0.03, "deployment", *where)
            self._wake_owner(0.1 if event.type == "ADDED" else 0.02, "kserve", event.object)
        elif event.resource == REPLICASETS:
            self.enqueue(0.05, "replicaset", *where)
            self._wake_owner(0.03, "deployment", event.object)
        elif event.resource == PODS:
            self._wake_owner(0.02, "replicaset", event.object)
            self._wake_services(where[0], metadata.get("labels", {}))
            self.kubelet.on_event(event)
            if _initializing(event.object) != _initializing(event.before or {}):
                isvc = metadata.get("labels", {}).get("serving.kserve.io/inferenceservice", "")
                self.enqueue(0.05, "kserve", where[0], isvc)
        elif event.resource == HPAS and event.type == "ADDED":
            self.enqueue(15, "hpa", *where, "again")
        elif event.resource == SERVICES:
            self._on_service(event, where)
        elif event.resource == ROUTES and _changed(event):
            self.enqueue(0.1, "gateway", *where)
        if event.type == "DELETED":
            self.clock.after(0.05, partial(self._collect, metadata["uid"]))

    def _wake_owner(self, seconds: float, controller: str, one: Object) -> None:
        for owner in one["metadata"].get("ownerReferences", []):
            self.enqueue(seconds, controller, one["metadata"]["namespace"], owner["name"])

    def _collect(self, uid: str) -> None:
        """Delete what an object that is gone has owned."""
        for resource in RESOURCES:
            for one in self.store.owned(resource, uid):
                self.store.delete(resource, one["metadata"].get("namespace", ""), one["metadata"]["name"])

    def _wake_services(self, namespace: str, labels: dict[str, str]) -> None:
        for service in self.store.list(SERVICES, namespace):
            if service["spec"].get("selector", {"": ""}).items() <= labels.items():
                self.enqueue(0.02, "endpoints", namespace, service["metadata"]["name"])

    def _on_service(self, event: Event, where: tuple[str, str]) -> None:
        self.enqueue(0.02, "endpoints", *where)
        if event.type == "DELETED":
            self.addresses.pop(where, None)
            if front := self._fronts.pop(where, None):
                self.clock.after(0, front.stop)

    def open_service(self, namespace: str, name: str) -> str:
        """The address of a Service."""
        where = (namespace, name)
        if self.dns:
            self._by_name.start()
            self.addresses[where] = f"http://{name}.{namespace}.svc.cluster.local:{self._by_name.port}"
            return self.addresses[where]
        if where not in self._fronts:
            self._fronts[where] = Front(partial(_ignoring_host, self.choose, namespace, name))
            self._fronts[where].start()
            self.addresses[where] = self._fronts[where].url
        return self.addresses[where]

    def open_revision(self, namespace: str, name: str) -> str:
        """The address of one revision of Knative mode."""
        where = (namespace, name)
        if where not in self._fronts:
            self._fronts[where] = Front(partial(_ignoring_host, self._choose_pod, namespace, f"{REVISION}={name}"))
            self._fronts[where].start()
            self.addresses[where] = self._fronts[where].url
        return self.addresses[where]

    def open_gateway(self, namespace: str, name: str) -> str:
        """The address outside of the cluster of an InferenceService, which splits its traffic."""
        where = (namespace, f"{name} (gateway)")
        if where not in self._fronts:
            self._fronts[where] = Front(partial(_ignoring_host, self._choose_by_weight, namespace, name))
            self._fronts[where].start()
            self.addresses[where] = self._fronts[where].url
        return self.addresses[where]

    def _choose_by_host(self, host: str) -> Predictor | None:
        name, _, rest = host.partition(".")
        return self.choose(rest.partition(".")[0], name)

    def choose(self, namespace: str, name: str) -> Predictor | None:
        """The predictor behind a Service that answers next: of one of its ready pods."""
        with self.store.lock:
            service = self.store.find(SERVICES, namespace, name)
            if service is None or not service["spec"].get("selector"):
                return None
            labels = ",".join(f"{key}={value}" for key, value in service["spec"]["selector"].items())
            return self._choose_pod(namespace, labels)

    def _choose_pod(self, namespace: str, labels: str) -> Predictor | None:
        with self.store.lock:
            pods = [one for one in self.store.list(PODS, namespace, labels) if is_ready(one)]
            return self.kubelet.predictor(random.choice(pods)) if pods else None

    def _choose_by_weight(self, namespace: str, name: str) -> Predictor | None:
        with self.store.lock:
            chosen = weighted(self.kserve_controller.weights(namespace, name))
        found = self.choose(namespace, chosen) if chosen else None
        end = time.monotonic() + (WAIT_SECONDS if self.knative else 0.0)
        while chosen and not found and time.monotonic() < end:  # a revision without pods gets some
            found = self._choose_pod(namespace, f"{REVISION}={chosen}")
            time.sleep(0.01)
        return found

    # What the API server asks of others

    def admit(self, resource: Resource, new: Object, old: Object | None) -> Object:
        """The object as the mutating webhooks leave it."""
        if resource != INFERENCE_SERVICES:
            return new
        if not self.controller:
            path = "mutate-serving-kserve-io-v1beta1-inferenceservice"
            raise ApiError(500, "InternalError", WEBHOOK_DOWN.format(name="defaulter", path=path))
        return add_defaults(new, self.default_mode)

    def validate(self, resource: Resource, new: Object, old: Object | None) -> Object:
        """The object, where the validating webhooks allow it."""
        if resource == INFERENCE_SERVICES:
            refuse_invalid(new)
            refuse_other_mode(new, old)
        return new

    def make_pod(self, body: Object) -> Object:
        """Make a pod, with what KServe's webhook adds; a 403 where the quota is spent."""
        namespace = body["metadata"]["namespace"]
        if "serving.kserve.io/inferenceservice" in body["metadata"].get("labels", {}):
            if not self.controller:
                raise ApiError(500, "InternalError", WEBHOOK_DOWN.format(name="pod-mutator", path="mutate-pods"))
            body = add_model(body)
        used = len(self.store.list(PODS, namespace))
        if self.quota is not None and used >= self.quota:
            told = f"exceeded quota: tight, requested: pods=1, used: pods={used}, limited: pods={self.quota}"
            raise ApiError(403, "Forbidden", f'pods "{body["metadata"]["name"]}" is forbidden: {told}')
        return self.store.create(PODS, self.kubelet.prepare(body))

    def log(self, namespace: str, name: str, query: dict[str, str]) -> str:
        """The log of a container of a pod."""
        self.store.get(PODS, namespace, name)
        return self.kubelet.log(namespace, name, query)

    def tell(self, one: Object, kind: str, reason: str, message: str, source: str = "") -> None:
        """Write an event about an object, or count one more of the same."""
        metadata = one["metadata"]
        about = {"kind": one["kind"], "name": metadata["name"], "namespace": metadata.get("namespace", "")}
        about |= {"uid": metadata["uid"], "apiVersion": one["apiVersion"]}
        stamp = self.clock.stamp()
        where = (metadata["uid"], reason, message)
        if where in self._told:
            self.store.change(
                EVENTS,
                about["namespace"],
                self._told[where],
                lambda known: {**known, "count": known["count"] + 1, "lastTimestamp": stamp},
            )
            return
        name = f"{metadata['name']}.{next(self._numbers):x}"
        body: Object = {"metadata": {"name": name, "namespace": about["namespace"]}, "involvedObject": about}
        body |= {"type": kind, "reason": reason, "message": message, "count": 1, "source": {"component": source}}
        self.store.create(EVENTS, {**body, "firstTimestamp": stamp, "lastTimestamp": stamp})
        self._told[where] = name

    def has_claim(self, namespace: str, name: str) -> bool:
        """Whether there is a PersistentVolumeClaim."""
        return self.store.find(CLAIMS, namespace, name) is not None


def _ignoring_host(choose: Callable[[str, str], Predictor | None], namespace: str, name: str, host: str) -> Any:
    return choose(namespace, name)


def _changed(event: Event) -> bool:
    """Whether more than the status of an object changed."""
    return event.before is None or event.before["metadata"]["generation"] != event.object["metadata"]["generation"]


def _initializing(pod: Object) -> object:
    return pod.get("status", {}).get("initContainerStatuses")
