"""The node of the fake cluster: what becomes of a pod, as a scheduler and a kubelet report it.

A pod's fate follows from what it asks for: a claim that is missing, more CPUs than the node has, an image that cannot
be pulled, an initializer that finds no model, a command that ends, a model that cannot be loaded.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from kubernetes.utils import parse_quantity

from tests.support.kubernetes_predictors import Model, Predictor
from tests.support.kubernetes_store import PODS, Event, Object

if TYPE_CHECKING:
    from tests.support.kubernetes_cluster import Cluster

INITIALIZER = "storage-initializer"
SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"
PREEMPTION = "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
UNBOUND = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
MISSING_IMAGE = 'failed to pull and unpack image "{image}": failed to resolve reference "{image}": not found'
WAITING = "version 0 cannot be served: /mnt/models holds no model"
RESTART_SECONDS = [10, 20, 40, 80, 160, 300]


class Kubelet:
    """Brings pods to life and ends them.

    Args:
        cluster: Where they are.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._store = cluster, cluster.store
        self._predictors: dict[int, Predictor] = {}  # by port
        self._by_uid: dict[str, Predictor] = {}
        self._logs: dict[str, list[str]] = {}  # by uid and container

    def prepare(self, body: Object) -> Object:
        """A pod about to be made, with the port of its predictor in it."""
        container = body["spec"]["containers"][0]
        env = {one["name"]: one.get("value", "") for one in container.get("env", [])}
        service = env.get("INFERENCE_SERVICE_NAME")
        if service is None:
            return body
        predictor = Predictor([_model_name(container)], plain="tensorflow/serving" in container.get("image", ""))
        self._predictors[predictor.port] = predictor
        ports = container.get("ports") or [{"protocol": "TCP"}]
        container["ports"] = [{**ports[0], "containerPort": predictor.port}, *ports[1:]]
        return body

    def predictor(self, pod: Object) -> Predictor | None:
        """The server in a pod."""
        return self._predictors.get(_port(pod))

    def stop(self) -> None:
        """End all servers."""
        for predictor in self._predictors.values():
            predictor.stop()

    def log(self, namespace: str, name: str, query: dict[str, str]) -> str:
        """The log of a container; with `previous` and `tailLines` as the API has them."""
        pod = self._store.get(PODS, namespace, name)
        container = query.get("container") or pod["spec"]["containers"][0]["name"]
        lines = self._logs.get(f"{pod['metadata']['uid']} {container}", [])
        tail = int(query.get("tailLines", "0"))
        return "".join(f"{line}\n" for line in (lines[-tail:] if tail else lines))

    def on_event(self, event: Event) -> None:
        """Look at a pod that was made, or is to end."""
        pod, after = event.object, self._cluster.clock.after
        metadata = pod["metadata"]
        if event.type == "ADDED":
            after(0.02, partial(self._live, pod, self._schedule))
        elif event.type == "MODIFIED" and metadata.get("deletionTimestamp"):
            if not (event.before or {}).get("metadata", {}).get("deletionTimestamp"):
                self._cluster.tell(pod, "Normal", "Killing", "Stopping container kserve-container", "kubelet")
                running = pod["status"].get("phase") == "Running"
                after(self._cluster.seconds["end"] if running else 0.4, partial(self._end, pod))
        elif event.type == "DELETED" and (predictor := self._predictors.pop(_port(pod), None)):
            after(0, predictor.stop)

    # A life, step by step. Each step is left out once the pod is to end.

    def _live(self, pod: Object, step: Callable[..., None], *arguments: Any) -> None:
        metadata = pod["metadata"]
        now = self._store.find(PODS, metadata["namespace"], metadata["name"])
        if now and now["metadata"]["uid"] == metadata["uid"] and not now["metadata"].get("deletionTimestamp"):
            step(now, *arguments)

    def _then(self, seconds: float, pod: Object, step: Callable[..., None], *arguments: Any) -> None:
        self._cluster.clock.after(seconds, partial(self._live, pod, step, *arguments))

    def _schedule(self, pod: Object, again: float = 5.0) -> None:
        if problem := self._unschedulable(pod):
            message = f"0/1 nodes are available: {problem}"
            condition = _condition("PodScheduled", "False", self._cluster.clock.stamp(), "Unschedulable", message)
            self._set(pod, lambda status: status.update(conditions=[condition]))
            self._cluster.tell(pod, "Warning", "FailedScheduling", message, "default-scheduler")
            self._then(again, pod, self._schedule, min(60.0, 2 * again))  # there may be room later
            return
        where = f"Successfully assigned {pod['metadata']['namespace']}/{pod['metadata']['name']} to node"
        self._cluster.tell(pod, "Normal", "Scheduled", where, "default-scheduler")
        condition = _condition("PodScheduled", "True", self._cluster.clock.stamp())
        self._set(pod, lambda status: status.update(conditions=[condition]))
        self._then(0.05, pod, self._prepare)

    def _unschedulable(self, pod: Object) -> str:
        for volume in pod["spec"].get("volumes", []):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and not self._cluster.has_claim(pod["metadata"]["namespace"], claim):
                return f'persistentvolumeclaim "{claim}" not found. no new claims to deallocate, {UNBOUND}'
        asked = [one.get("resources", {}).get("requests", {}).get("cpu", "0") for one in pod["spec"]["containers"]]
        if sum(parse_quantity(str(one)) for one in asked) > self._cluster.node_cpu:
            return f"1 Insufficient cpu. no new claims to deallocate, {PREEMPTION}"
        return ""

    def _prepare(self, pod: Object) -> None:
        initializers = pod["spec"].get("initContainers", [])
        waiting = {"reason": "PodInitializing" if initializers else "ContainerCreating"}

        def write(status: Object) -> None:
            self._conditions(status, initialized=not initializers, started=False)
            if initializers:
                status["initContainerStatuses"] = [_container(initializers[0], {"waiting": waiting})]
            status["containerStatuses"] = [_container(one, {"waiting": waiting}) for one in pod["spec"]["containers"]]

        self._set(pod, write)
        self._then(0.6, pod, *((self._initialize, 0) if initializers else (self._pull, 0)))

    # The storage initializer

    def _initialize(self, pod: Object, restarts: int, last: Object | None = None) -> None:
        self._started(pod)
        self._set_initializer(pod, {"running": {"startedAt": self._cluster.clock.stamp()}}, restarts, last=last)
        self._then(self._cluster.seconds["download"] if self._model(pod) else 1.0, pod, self._initialized, restarts)

    def _initialized(self, pod: Object, restarts: int) -> None:
        if not self._cluster.downloads(pod):
            self._then(0.1, pod, self._initialized, restarts)
            return
        stamp = self._cluster.clock.stamp()
        if self._model(pod):
            done = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": stamp}}
            self._set_initializer(pod, done, restarts, ready=True)
            self._set(pod, partial(self._conditions, initialized=True, started=True))
            self._then(0.3, pod, self._pull, 0)
            return
        message = self._no_model(pod["metadata"]["annotations"][SOURCE])
        self._write_log(pod, INITIALIZER, message.splitlines())
        failed = {"terminated": {"exitCode": 1, "reason": "Error", "message": message, "finishedAt": stamp}}
        self._set_initializer(pod, failed, restarts)
        self._then(1.0, pod, self._initializer_waits, restarts, failed)

    def _initializer_waits(self, pod: Object, restarts: int, last: Object) -> None:
        if restarts == 0:  # the first time it is started again at once
            self._initialize_again(pod, 1, last)
            return
        seconds = RESTART_SECONDS[min(restarts - 1, len(RESTART_SECONDS) - 1)]
        message = f"back-off {seconds}s restarting failed container={INITIALIZER} pod={pod['metadata']['name']}"
        waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        self._set_initializer(pod, waiting, restarts, last=last)
        self._cluster.tell(pod, "Warning", "BackOff", f"Back-off restarting failed container {INITIALIZER}", "kubelet")
        self._then(seconds, pod, self._initialize_again, restarts + 1, last)

    def _initialize_again(self, pod: Object, restarts: int, last: Object) -> None:
        if self._model(pod):
            self._initialize(pod, restarts, last)
        else:  # it is over before it is seen to run
            self._initialized(pod, restarts)

    def _no_model(self, uri: str) -> str:
        scheme, _, rest = uri.partition("://")
        bucket, _, path = rest.partition("/")
        if self._cluster.buckets is not None and bucket not in self._cluster.buckets:
            reason = f"{scheme.upper()} resource '{bucket}' not found."
        else:
            reason = f"Failed to fetch model. No model found in {path}."
        copying = f"storage.initializer INFO Copying contents of {uri} to local\n"
        return f"{copying}storage.initializer ERROR Storage initialization failed: {reason}\n"

    # The server

    def _pull(self, pod: Object, tries: int) -> None:
        container = pod["spec"]["containers"][0]
        image = container.get("image", "")
        self._started(pod)
        if image not in self._cluster.missing_images:
            told = f'Container image "{image}" already present on machine'
            self._cluster.tell(pod, "Normal", "Pulled", told, "kubelet")
            for verb in ("Created", "Started"):
                self._cluster.tell(pod, "Normal", verb, f"{verb} container {container['name']}", "kubelet")
            self._then(self._cluster.seconds["pull"], pod, self._run, 0, {})
            return
        problem = MISSING_IMAGE.format(image=image)
        self._cluster.tell(pod, "Warning", "Failed", f'Failed to pull image "{image}": {problem}', "kubelet")
        self._set_server(pod, {"waiting": {"reason": "ErrImagePull", "message": problem}})
        self._then(11.6, pod, self._wait_for_image, problem, tries)

    def _wait_for_image(self, pod: Object, problem: str, tries: int) -> None:
        image = pod["spec"]["containers"][0]["image"]
        message = f'Back-off pulling image "{image}": ErrImagePull: {problem}'
        self._cluster.tell(pod, "Normal", "BackOff", f'Back-off pulling image "{image}"', "kubelet")
        self._set_server(pod, {"waiting": {"reason": "ImagePullBackOff", "message": message}})
        self._then(RESTART_SECONDS[min(tries, 5)] + 2, pod, self._pull, tries + 1)

    def _run(self, pod: Object, restarts: int, last: Object) -> None:
        stamp = self._cluster.clock.stamp()
        self._set_server(pod, {"running": {"startedAt": stamp}}, restarts=restarts, last=last, phase="Running")
        code, text = _crash(pod["spec"]["containers"][0])
        if code:
            self._then(2.0, pod, self._crash, restarts, code, text, "")
            return
        model, predictor = self._model(pod), self.predictor(pod)
        problem = (model.problem if model else WAITING) if predictor else ""
        if predictor:
            predictor.start()
            predictor.problem = problem or predictor.problem
        if problem:
            self._write_log(pod, pod["spec"]["containers"][0]["name"], [problem])
            if self._cluster.ends_without_model:
                self._then(1.0, pod, self._crash, restarts, 1, problem, problem)
                return
        probe = pod["spec"]["containers"][0].get("readinessProbe", {})
        seconds = model.load_seconds if model else 5.0
        if not problem:
            self._then(seconds, pod, self._loaded)
        if "httpGet" not in probe:  # KServe's own: whether somebody listens
            self._then(0.4, pod, self._ready)
        elif not problem:
            self._then(seconds, pod, self._ready)
        else:
            message = "Readiness probe failed: HTTP probe failed with statuscode: 503"
            self._cluster.tell(pod, "Warning", "Unhealthy", message, "kubelet")

    def _loaded(self, pod: Object) -> None:
        if predictor := self.predictor(pod):
            predictor.model = self._model(pod)

    def _ready(self, pod: Object) -> None:
        def write(status: Object) -> None:
            self._conditions(status, initialized=True, started=True, ready=True)
            status["containerStatuses"] = [{**one, "ready": True} for one in status["containerStatuses"]]

        self._set(pod, write)

    def _crash(self, pod: Object, restarts: int, code: int, text: str, message: str) -> None:
        container = pod["spec"]["containers"][0]["name"]
        self._write_log(pod, container, [text])
        told = {"message": message} if message else {}
        state = {"terminated": {"exitCode": code, "reason": "Error", "finishedAt": self._cluster.clock.stamp(), **told}}
        self._set_server(pod, state, restarts=restarts)
        self._then(0.9 if restarts == 0 else 2.0, pod, self._crashed, restarts, state)

    def _crashed(self, pod: Object, restarts: int, last: Object) -> None:
        if restarts == 0:  # the first time it is started again at once
            self._run(pod, 1, last)
            return
        container, seconds = pod["spec"]["containers"][0]["name"], RESTART_SECONDS[min(restarts - 1, 5)]
        message = f"back-off {seconds}s restarting failed container={container} pod={pod['metadata']['name']}"
        waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        self._set_server(pod, waiting, restarts=restarts, last=last)
        self._cluster.tell(pod, "Warning", "BackOff", f"Back-off restarting failed container {container}", "kubelet")
        self._then(seconds, pod, self._run, restarts + 1, last)

    def _end(self, pod: Object) -> None:
        metadata = pod["metadata"]
        now = self._store.find(PODS, metadata["namespace"], metadata["name"])
        if not now or now["metadata"]["uid"] != metadata["uid"]:
            return
        if predictor := self.predictor(pod):
            self._cluster.clock.after(0, predictor.stop)
        stamp, running = self._cluster.clock.stamp(), now["status"].get("phase") == "Running"

        def write(status: Object) -> None:
            status["phase"] = "Succeeded" if running else "Failed"
            self._conditions(status, initialized=running, started=False, reason="PodCompleted" if running else "")
            done = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": stamp}}
            status["containerStatuses"] = [
                {**one, "state": done if "running" in one["state"] else one["state"], "ready": False}
                for one in status["containerStatuses"]
            ]

        if running or "initContainerStatuses" in now["status"]:
            self._set(now, write)
        self._cluster.clock.after(0.3, partial(self._store.remove, PODS, metadata["namespace"], metadata["name"]))

    # What is written down

    def _model(self, pod: Object) -> Model | None:
        return self._cluster.find_model(pod["metadata"].get("annotations", {}).get(SOURCE, ""))

    def _write_log(self, pod: Object, container: str, lines: list[str]) -> None:
        self._logs.setdefault(f"{pod['metadata']['uid']} {container}", []).extend(lines)

    def _set(self, pod: Object, change: Callable[[Object], None]) -> None:
        def write(one: Object) -> Object:
            change(one["status"])
            return one

        self._store.change(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"], write, part="status")

    def _started(self, pod: Object) -> None:
        def write(status: Object) -> None:
            status["podIP"] = "127.0.0.1"
            for one in status["conditions"]:
                if one["type"] == "PodReadyToStartContainers":
                    one["status"] = "True"

        self._set(pod, write)

    def _set_initializer(
        self, pod: Object, state: Object, restarts: int, *, ready: bool = False, last: Object | None = None
    ) -> None:
        def write(status: Object) -> None:
            known = status["initContainerStatuses"][0]
            changed = {"state": state, "lastState": last or {}, "ready": ready, "restartCount": restarts}
            status["initContainerStatuses"] = [{**known, **changed}]

        self._set(pod, write)

    def _set_server(
        self, pod: Object, state: Object, *, restarts: int = 0, last: Object | None = None, phase: str = ""
    ) -> None:
        def write(status: Object) -> None:
            status["phase"] = phase or status["phase"]
            self._conditions(status, initialized=True, started=True)
            known = status["containerStatuses"][0]
            before = known["lastState"] if last is None else last
            changed = {"state": state, "lastState": before, "ready": False, "restartCount": restarts}
            status["containerStatuses"] = [{**known, **changed}, *status["containerStatuses"][1:]]

        self._set(pod, write)

    def _conditions(
        self, status: Object, *, initialized: bool, started: bool, ready: bool = False, reason: str = ""
    ) -> None:
        stamp, known = self._cluster.clock.stamp(), {one["type"]: one for one in status.get("conditions", [])}
        unready = ("ContainersNotReady", "containers with unready status: [kserve-container]")
        missing = ("ContainersNotInitialized", f"containers with incomplete status: [{INITIALIZER}]")
        if reason:
            unready = missing = (reason, "")
        new = [
            _condition("PodReadyToStartContainers", str(started), stamp),
            _condition("Initialized", str(initialized), stamp, *(() if initialized else missing)),
            _condition("Ready", str(ready), stamp, *(() if ready else unready)),
            _condition("ContainersReady", str(ready), stamp, *(() if ready else unready)),
        ]
        for one in new:
            before = known.get(one["type"], {})
            if before.get("status") == one["status"]:
                one["lastTransitionTime"] = before["lastTransitionTime"]
        status["conditions"] = [*new, *([known["PodScheduled"]] if "PodScheduled" in known else [])]


def _condition(kind: str, status: str, stamp: str, reason: str = "", message: str = "") -> Object:
    told = {**({"reason": reason} if reason else {}), **({"message": message} if message else {})}
    return {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": stamp, **told}


def _container(one: Object, state: Object) -> Object:
    known = {"name": one["name"], "state": copy.deepcopy(state), "lastState": {}, "ready": False, "restartCount": 0}
    return {**known, "image": one.get("image", ""), "imageID": "", "started": False}


def _crash(container: Object) -> tuple[int, str]:
    """Exit code and last words of a container whose command is a shell that ends; 0 for any other."""
    text = " ".join([*container.get("command", []), *container.get("args", [])])
    found = re.search(r"exit (\d+)", text)
    words = re.search(r'echo "?([^";]*)', text)
    return (int(found[1]), words[1].strip() if words else "") if found else (0, "")


def _model_name(container: Object) -> str:
    words = [*container.get("command", []), *container.get("args", [])]
    for index, word in enumerate(words):
        if found := re.fullmatch(r"--model[-_]name=(.*)", word):
            return found[1]
        if word in ("--model-name", "--model_name") and index + 1 < len(words):
            return str(words[index + 1])
    return "bert"


def _port(pod: Object) -> int:
    ports = pod.get("spec", {}).get("containers", [{}])[0].get("ports") or [{}]
    return int(ports[0].get("containerPort", 0))
