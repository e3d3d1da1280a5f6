"""Why an InferenceService does not serve yet, from where the reason stands, and whether that can heal by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kfp_bert_components.deployment.model_server import ModelServer
from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.kserve.paths import core
from kfp_bert_components.kserve.witnesses import Seen, condition, is_ready, is_wanted, pod_address
from kfp_bert_components.kubernetes_api import Cluster

# A container that waits for one of these still starts.
_STARTING = ("ContainerCreating", "PodInitializing")
_LOADING = "The model is still loading"
_NO_ROOM = "nodes are available"  # the scheduler's words for a pod that no node takes
_LONGEST = 600  # letters of a reason


@dataclass(frozen=True)
class Reason:
    """Why a wait goes on.

    Attributes:
        text: In plain words.
        heals: Whether waiting may help, as where a node has no room yet.
    """

    text: str
    heals: bool


def failure_of(service: dict[str, Any] | None) -> dict[str, Any]:
    """The failure in the status of an InferenceService, {} where there is none. It can be that of an earlier roll."""
    return dict((service or {}).get("status", {}).get("modelStatus", {}).get("lastFailureInfo") or {})


def why(cluster: Cluster, seen: Seen, wanted: dict[str, Any], known: dict[str, Any]) -> Reason:
    """Why it does not serve.

    Args:
        cluster: The API.
        seen: What was seen of it.
        wanted: The InferenceService as it was written.
        known: The failure in its status before it was written, which is not this roll's.
    """
    for pod in seen.pods or ():
        if is_wanted(pod, wanted) and not is_ready(pod) and (reason := _of_pod(cluster, pod, wanted)):
            return reason
    if reason := _of_status(seen, known):
        return reason
    return Reason(seen.doubt, seen.heals) if seen.doubt else _unknown(seen)


def _of_pod(cluster: Cluster, pod: dict[str, Any], wanted: dict[str, Any]) -> Reason | None:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    scheduled = condition(status, "PodScheduled")
    if scheduled.get("status") == "False":
        message = scheduled.get("message") or scheduled.get("reason", "")
        return Reason(f"no node takes the pod {name}: {message}"[:_LONGEST], "not found" not in message)
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    for container in containers:
        if reason := _of_container(cluster, name, container):
            return reason
    if any(one.get("state", {}).get("running") for one in status.get("containerStatuses") or ()):
        return _of_server(pod, wanted)
    return None


def _of_container(cluster: Cluster, pod: str, container: dict[str, Any]) -> Reason | None:
    name, state = container["name"], container.get("state", {})
    what = f"the container {name} of the pod {pod}"
    waiting = state.get("waiting") or {}
    # How it ended before tells nothing of one that runs again.
    ended = state.get("terminated") or (waiting and container.get("lastState", {}).get("terminated")) or {}
    if ended and ended.get("exitCode") != 0:
        said = ended.get("message") or _log(cluster, pod, name)
        reason = "" if ended.get("reason") in (None, "Error") else f" ({ended['reason']})"
        return Reason(f"{what} ended with exit code {ended.get('exitCode')}{reason}: {_last_lines(said)}", False)
    if waiting and waiting.get("reason") not in _STARTING:
        return Reason(f"{what} can't start: {waiting.get('reason')}: {waiting.get('message', '')}"[:_LONGEST], False)
    return None


def _log(cluster: Cluster, pod: str, container: str) -> str:
    try:
        path = f"{core(cluster.namespace, 'pods', pod)}/log"
        return cluster.text(path, container=container, tailLines="5", previous="true")
    except (UserError, TransientError):
        return ""


def _of_server(pod: dict[str, Any], wanted: dict[str, Any]) -> Reason | None:
    """What a server that runs, and is not ready, says of its model."""
    address = pod_address(pod, ready=False)
    if not address:
        return None
    try:
        says = ModelServer(f"{address}/v1/models/{wanted['metadata']['name']}", 5.0).problem()
    except TransientError:
        return Reason(f"the server of the pod {pod['metadata']['name']} is starting", True)
    if not says or says.startswith(_LOADING):
        return Reason(f"the server of the pod {pod['metadata']['name']} loads its model", True)
    return Reason(f"the server of the pod {pod['metadata']['name']} can't load its model: {says}"[:_LONGEST], False)


def _of_status(seen: Seen, known: dict[str, Any]) -> Reason | None:
    status = (seen.service or {}).get("status", {})
    model, failure = status.get("modelStatus", {}), failure_of(seen.service)
    if model.get("transitionStatus") in ("InvalidSpec", "BlockedByFailedLoad") and failure != known:
        said = _last_lines(failure.get("message", "")) or f"exit code {failure.get('exitCode')}"
        return Reason(f"KServe says {failure.get('reason')}: {said}", False)
    for kind in ("PredictorReady", "Ready"):
        found = condition(status, kind)
        if found.get("reason") in ("FailedCreate", "ReconcileFailed", "RevisionFailed"):
            message = found.get("message", "")
            return Reason(f"KServe says {found['reason']}: {message}"[:_LONGEST], _NO_ROOM in message)
    return None


def _unknown(seen: Seen) -> Reason:
    if seen.service is None:
        return Reason("it is not there: somebody deleted it", False)
    status = seen.service.get("status", {})
    if not status:
        return Reason("KServe's controller has not looked at it yet: it may be down", True)
    said = condition(status, "PredictorReady")
    text = said.get("message") or said.get("reason") or "KServe says nothing"
    hidden = "; its pods would say why, but this account may not read them" if seen.pods is None else ""
    return Reason(f"{text}{hidden}", True)


def _last_lines(text: str) -> str:
    """The end of a text of many lines, in one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-2:])[-_LONGEST:] or "it left no message and no log"
