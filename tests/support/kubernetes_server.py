"""A server on loopback that speaks the Kubernetes API to the real client, with KServe behind it and faults on demand.

    with KubernetesServer(factor=50) as server:            # a second of the cluster takes 1/50 s here
        server.cluster.models["pvc://models/a"] = Model("fingerprint-a")
        api = kubernetes.client.CustomObjectsApi(server.client())
        ...                                                # or load_kube_config(server.kubeconfig(folder))

What it offers:

* The API: create, get, list, watch (bookmarks, 410), update, merge and JSON patch, server-side apply, delete,
  dry run, field validation, /status, /log, discovery; 403, 404, 409, 422 with the words of a real one.
  InferenceServices are checked by the real schema. `server.calls` has every call; discovery is not counted.
* Rights: `server.rules` are the rules of a Role, as in its file (None: everything is allowed); `server.cluster_rules`
  those of a ClusterRole, for what lies in no namespace. What is not allowed is a 403.
* Faults: `server.faults.append(Fault(...))`; see `Fault`. `server.on_call(number, call)` runs after the effect of each
  call and before its answer: raise there, or kill the client.
* The cluster (`server.cluster`, see kubernetes_cluster.py): Deployments, ReplicaSets, pods, and KServe's controller in
  Standard and Knative mode. Switches: `default_mode`, `knative`, `models`, `missing_images`, `buckets`, `quota`,
  `node_cpu`, `gateway_api`, `controller`, `ends_without_model`. `add`, `add_runtime` put there what others would have:
  volumes, runtimes, service accounts.
* Predictors: every running container is a server on 127.0.0.1. A pod is asked at `status.podIP` : `containerPort` of
  its first container (which is the real port of that pod: each has another one). `status.address.url` of the
  InferenceService is the Service of the stable predictor: it answers by the ready pods. The Service of any other
  predictor has its address in the annotation `address` (`server.cluster.addresses` has all of them, by name). With the
  Gateway API `status.url` splits the traffic by the weights of the HTTPRoute; with `dns` Services have names.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes
import yaml

from tests.support.cluster_dns import resolve_services
from tests.support.kubernetes_cluster import Cluster
from tests.support.kubernetes_http import Answer, Request, Server
from tests.support.kubernetes_resources import (
    RESOURCES,
    SCHEMAS,
    Target,
    discover,
    find_target,
    schemas_of_inference_services,
)
from tests.support.kubernetes_schema import inference_service_schema
from tests.support.kubernetes_store import ApiError, Object, selected
from tests.support.kubernetes_writes import Write

READ_ONLY = ("get", "list", "watch")


@dataclass
class Fault:
    """One fault of the API.

    Attributes:
        verb: The verb that it strikes, as in a Role; "" for any.
        resource: The resource that it strikes, as in a Role; "" for any.
        effect: "before": nothing happens; "after": it happens, but the caller does not hear of it; "drop": it happens,
            and the connection breaks; "reset": nothing happens, and the connection breaks; "half": it happens, and half
            of the answer comes as if it were all.
        times: How often; -1 for ever.
        position: Strikes only from this call on, counted over all calls from 1.
        status: HTTP status of the answer.
        seconds: How long the answer, or the break, takes. With more than the client's patience it is a timeout.
        sticky: With a position and no verb: strikes the verb and resource that are called there, and these only.
    """

    verb: str = ""
    resource: str = ""
    effect: str = "before"
    times: int = 1
    position: int = 0
    status: int = 503
    seconds: float = 0.0
    sticky: bool = True


@dataclass
class Call:
    """A call that came, with the verb and the resource as in a Role. `conflicts`: it was refused with 409."""

    verb: str
    resource: str
    group: str
    namespace: str
    name: str
    body: Any
    query: dict[str, str]
    conflicts: bool = False

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


class KubernetesServer:
    """Use it as a context manager; `url` is the `host` for the client.

    Args:
        factor: How much faster than the clock on the wall the cluster runs; 0: `cluster.clock.advance` moves it.

    Attributes:
        cluster: What is behind it.
        faults: Faults to come.
        calls: The calls, in order.
        forbidden: Those that were answered with 403, of all times.
        on_call: Called after the effect of each call and before its answer, with its number and the call.
        rules: Of a Role; None: everything is allowed.
        cluster_rules: Of a ClusterRole.
        user: Who calls, as the messages of a 403 name it.
        retry_after: Header of an answer 429, in seconds.
        problem: The first error of the fake itself; it is raised at the end.
    """

    def __init__(self, factor: float = 50.0) -> None:
        self.cluster = Cluster(factor)
        self.faults: list[Fault] = []
        self.calls: list[Call] = []
        self.forbidden: list[Call] = []
        self.on_call: Callable[[int, Call], None] = lambda number, call: None
        self.rules: list[Object] | None = None
        self.cluster_rules: list[Object] = []
        self.user = "system:serviceaccount:default:limited"
        self.retry_after = "1"
        self.problem: Exception | None = None
        self._lock = threading.Lock()
        self._names = ExitStack()
        self._server = Server(self.answer)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> KubernetesServer:
        if self.cluster.dns:
            self._names.enter_context(resolve_services())
        self.cluster.start()
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.cluster.stop()
        self._names.close()
        if self.problem:
            raise self.problem

    def client(self) -> Any:
        """A client of the official library for this server."""
        configuration = kubernetes.client.Configuration()
        configuration.host = self.url
        return kubernetes.client.ApiClient(configuration)

    def kubeconfig(self, folder: Path, namespace: str = "default") -> Path:
        """A kubeconfig file for this server."""
        context = {"cluster": "fake", "user": "fake", "namespace": namespace}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {}}],
            "contexts": [{"name": "fake", "context": context}],
        }
        file = folder / "kubeconfig"
        file.write_text(yaml.safe_dump(content))
        return file

    def changing_calls(self) -> list[Call]:
        """The calls that were no reads, no dry runs, and not refused because the object had changed meanwhile."""
        changing = [one for one in self.calls if one.verb not in READ_ONLY and "dryRun" not in one.query]
        return [one for one in changing if not one.conflicts]

    # Below: one request

    def answer(self, request: Request) -> Answer | None:
        """The answer; None to break the connection."""
        groups = self.cluster.groups()
        if request.method == "GET" and (found := discover(request.path, groups)):
            return Answer(200, found)
        if request.path == SCHEMAS and self.cluster.kserve:
            return Answer(200, self._schemas())
        target = find_target(request.path, groups)
        if target is None:
            return self._answer_unknown(request)
        call = _call(request, target)
        with self._lock:
            self.calls.append(call)
            position = len(self.calls)
            fault = self._strike(position, call)
        if fault and fault.effect in ("before", "reset"):
            time.sleep(fault.seconds)
            if fault.status == 403:
                self.forbidden.append(call)
            return None if fault.effect == "reset" else self._fault_answer(fault)
        try:
            self._check_rights(call)
            answer = self._carry_out(request, target, call)
        except ApiError as error:
            call.conflicts = error.status == 409
            answer = Answer(error.status, error.body())
        except Exception as error:  # of the fake itself
            self.problem = self.problem or error
            answer = Answer(500, ApiError(500, "InternalError", repr(error)).body())
        self.on_call(position, call)
        if fault:
            time.sleep(fault.seconds)
            if fault.effect == "half":
                text = json.dumps(answer.body)
                return Answer(answer.status, text=text[: len(text) // 2])
            return None if fault.effect == "drop" else self._fault_answer(fault)
        return answer

    def _answer_unknown(self, request: Request) -> Answer:
        """The answer about a kind that is not there: who has no right to it does not hear that."""
        kind = find_target(request.path, {one.group for one in RESOURCES})
        try:
            if kind:
                self._check_rights(_call(request, kind))
        except ApiError as error:
            return Answer(error.status, error.body())
        return Answer(404, ApiError(404, "NotFound", "the server could not find the requested resource").body())

    def _schemas(self) -> Object:
        fields = inference_service_schema()["properties"]["spec"]["properties"]
        return schemas_of_inference_services([one for one in fields if self.cluster.canaries or one != "canary"])

    def _strike(self, number: int, call: Call) -> Fault | None:
        for fault in self.faults:
            other = (fault.verb and fault.verb != call.verb) or (fault.resource and fault.resource != call.resource)
            if not fault.times or number < fault.position or other:
                continue
            if fault.sticky and fault.position and not fault.verb:
                fault.verb, fault.resource = call.verb, call.resource
            fault.times -= 1
            return fault
        return None

    def _fault_answer(self, fault: Fault) -> Answer:
        reasons = {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}
        error = ApiError(fault.status, reasons.get(fault.status, "Unknown"), "a fault of the server")
        headers = {"Retry-After": self.retry_after} if fault.status == 429 else {}
        return Answer(fault.status, error.body(), headers)

    def _check_rights(self, call: Call) -> None:
        if self.rules is None:
            return
        rules = [*self.cluster_rules, *(self.rules if call.namespace else [])]
        if not any(_allows(rule, call) for rule in rules):
            full = f"{call.resource.split('/')[0]}.{call.group}" if call.group else call.resource.split("/")[0]
            named = f'{full} "{call.name}"' if call.name else full
            where = f'in the namespace "{call.namespace}"' if call.namespace else "at the cluster scope"
            wanted = f'cannot {call.verb} resource "{call.resource}" in API group "{call.group}" {where}'
            raise ApiError(403, "Forbidden", f'{named} is forbidden: User "{self.user}" {wanted}')

    def _carry_out(self, request: Request, target: Target, call: Call) -> Answer:
        if call.verb == "watch":
            return Answer(200, lines=self._watch(target, call.query))
        with self.cluster.store.lock:
            if call.verb in ("get", "list"):
                return self._read(target, call.query)
            return Write(self.cluster, request, target).answer()

    def _read(self, target: Target, query: dict[str, str]) -> Answer:
        store, resource = self.cluster.store, target.resource
        if target.part == "log":
            return Answer(200, text=self.cluster.log(target.namespace, target.name, query))
        if target.name:
            return Answer(200, store.get(resource, target.namespace, target.name))
        found = store.list(resource, target.namespace, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        start, most = int(query.get("continue", "0") or 0), int(query.get("limit", "0") or 0)
        page = found[start : start + most] if most else found[start:]
        more = str(start + most) if most and start + most < len(found) else ""
        metadata = {"resourceVersion": str(store.version), **({"continue": more} if more else {})}
        kind = f"{resource.kind}List"
        return Answer(200, {"kind": kind, "apiVersion": resource.api_version, "metadata": metadata, "items": page})

    def _watch(self, target: Target, query: dict[str, str]) -> Iterator[Object]:
        store = self.cluster.store
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        if target.name:
            fields = f"metadata.name={target.name}"
        end = time.monotonic() + float(query.get("timeoutSeconds") or 300)
        bookmarks = query.get("allowWatchBookmarks") == "true"
        with store.lock:
            version = int(query.get("resourceVersion") or 0)
            first = [] if version else store.list(target.resource, target.namespace, labels, fields)
            version = version or store.version
        for one in first:
            yield {"type": "ADDED", "object": one}
        while True:
            with store.lock:
                try:
                    events = store.events_since(version)
                except ApiError as error:
                    yield {"type": "ERROR", "object": error.body()}
                    return
                if not events and (left := end - time.monotonic()) > 0 and not self.cluster.ended:
                    store.changed.wait(min(left, 1.0))
                    events = store.events_since(version)
            for event in events:
                version = event.version
                namespace = event.object["metadata"].get("namespace", "")
                if event.resource == target.resource and target.namespace in ("", namespace):
                    yield from _told(event, labels, fields)
            if time.monotonic() >= end or self.cluster.ended:
                if bookmarks:
                    known = {"kind": target.resource.kind, "apiVersion": target.resource.api_version}
                    yield {"type": "BOOKMARK", "object": {**known, "metadata": {"resourceVersion": str(version)}}}
                return


def _told(event: Any, labels: str, fields: str) -> Iterator[Object]:
    """An event as one watch sees it: an object that comes to fit its selector is ADDED, one that ceases DELETED."""
    fits = selected(event.object, labels, fields)
    fitted = event.before is not None and selected(event.before, labels, fields)
    if event.type == "DELETED":
        kind = "DELETED" if fits or fitted else ""
    elif fits:
        kind = event.type if fitted or event.type == "ADDED" else "ADDED"
    else:
        kind = "DELETED" if fitted else ""
    if kind:
        yield {"type": kind, "object": event.object}


def _allows(rule: Object, call: Call) -> bool:
    names = rule.get("resourceNames")
    return (
        bool({call.group, "*"} & set(rule["apiGroups"]))
        and bool({call.resource, "*"} & set(rule["resources"]))
        and bool({call.verb, "*"} & set(rule["verbs"]))
        and (not names or call.name in names)
    )


def _call(request: Request, target: Target) -> Call:
    query, one = request.query, bool(target.name)
    verb = {
        "GET": "watch" if query.get("watch") in ("1", "true") else "get" if one else "list",
        "POST": "create",
        "PUT": "update",
        "PATCH": "patch",
        "DELETE": "delete" if one else "deletecollection",
    }[request.method]
    resource = target.resource.plural + (f"/{target.part}" if target.part else "")
    name = target.name or (request.body or {}).get("metadata", {}).get("name", "") if verb == "create" else target.name
    if verb in ("list", "watch") and not name:
        terms = dict(term.split("=", 1) for term in query.get("fieldSelector", "").split(",") if "=" in term)
        name = terms.get("metadata.name", "")
    # As on a real server, whoever asks for a namespace asks in it.
    namespace = target.name if target.resource.kind == "Namespace" else target.namespace
    return Call(verb, resource, target.resource.group, namespace, name, request.body, query)
