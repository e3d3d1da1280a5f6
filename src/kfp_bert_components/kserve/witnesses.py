"""Whether an InferenceService serves what it should: looked at, as its own status does not tell.

`Ready`, `modelStatus` and `observedGeneration` stay as they are while the pods of an older model answer, and through a
roll that fails. Three witnesses do tell, the best first: the servers, asked for the fingerprint of what they have
loaded; the Deployment; and the name of the ReplicaSet in the condition PredictorReady. An account that may not read
pods or Deployments has fewer of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from kfp_bert_components.deployment.model_server import ModelServer
from kfp_bert_components.errors import TransientError
from kfp_bert_components.kserve.objects import PORT, SOURCE, address_of, has, has_spec, stamp_of
from kfp_bert_components.kserve.paths import core, deployment, inference_service
from kfp_bert_components.kubernetes_api import Cluster, ForbiddenError

POD_LABEL = "serving.kserve.io/inferenceservice"
_ASK_SECONDS = 5.0
_CONTAINER = "kserve-container"  # the one that serves, as KServe calls it
_COMPARED = ("image", "command", "args", "resources")  # of that container
_OVER = ("Failed", "Succeeded")  # phases of a pod that is not started again
SERVERS, DEPLOYMENT, STATUS = "its servers", "its Deployment", "the InferenceService's status"


@dataclass(frozen=True)
class Seen:
    """What was seen.

    Attributes:
        serves: Whether all requests get the answers of the wanted version.
        witnesses: Who said so.
        revision: Name of the ReplicaSet whose pods answer, as far as it is known.
        url: Address of the InferenceService inside the cluster; "" while there is none.
        service: The InferenceService; None where there is none.
        pods: Its pods that are neither over nor being deleted; None where they may not be read.
        doubt: What is wrong with a version that was started, where nothing else says so.
        heals: Whether that can pass by itself.
    """

    serves: bool
    witnesses: tuple[str, ...] = ()
    revision: str = ""
    url: str = ""
    service: dict[str, Any] | None = None
    pods: list[dict[str, Any]] | None = None
    doubt: str = ""
    heals: bool = False


class Witnesses:
    """Looks at the InferenceServices of a namespace.

    Args:
        cluster: The API.
        fingerprint: Of the bundle that our server is to have loaded; "": another server, or it is not known.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def look(
        self,
        wanted: dict[str, Any],
        fingerprint: str,
        before: str = "",
        *,
        brief: bool = False,
        with_canaries: bool = False,
        least: int = 1,
    ) -> Seen:
        """Look at one.

        Args:
            wanted: The InferenceService as it was written.
            fingerprint: Of the bundle that its servers are to have loaded; "" where that is not known.
            before: The revision before it was written.
            brief: Whether it is asked through its own address only, and whether more pods may be starting: at most two
                calls of the API, and one to the server. Else every pod is asked, and all must be there.
            with_canaries: Whether it may have canaries, which get a part of its requests.
            least: How many pods it must have.

        Raises:
            TransientError, UserError: The API can't be asked.
        """
        name = wanted["metadata"]["name"]
        found = self._cluster.find(inference_service(self._cluster.namespace, name))
        if found is None or found["metadata"].get("deletionTimestamp"):
            return Seen(False, service=found)
        status = found.get("status", {})
        url = str(status.get("address", {}).get("url", ""))
        pods = None if brief else pods_of(self._cluster, name, component_of(wanted))
        revision = _revision(status, name, pods, wanted)
        if doubt := _doubt(found, wanted, with_canaries):
            return Seen(False, (), revision, url, found, pods, doubt)
        said = {DEPLOYMENT: self.deployment_says(wanted, whole=not brief, least=least)}
        if fingerprint and said[DEPLOYMENT] is not False:
            said[SERVERS] = self.servers_say(name, fingerprint, url, pods)
        if said[DEPLOYMENT] is None:
            said[STATUS] = _status_says(status, before)
        told = {who: answer for who, answer in said.items() if answer is not None}
        return Seen(bool(told) and all(told.values()), tuple(told), revision, url, found, pods)

    def deployment_says(self, wanted: dict[str, Any], *, whole: bool = True, least: int = 1) -> bool | None:
        """Whether the Deployment of its predictor has its pods; None where that may not be read.

        Args:
            wanted: The InferenceService as it was written.
            whole: Whether all of them must be there, and none of another version.
            least: How many must be there.
        """
        try:
            found = self._cluster.find(deployment(self._cluster.namespace, component_of(wanted)))
        except ForbiddenError:
            return None
        if found is None or found["metadata"].get("deletionTimestamp"):
            return False
        template, status = found["spec"]["template"], found.get("status", {})
        source = template["metadata"].get("annotations", {}).get(SOURCE)
        if (source, stamp_of(template)) != (address_of(wanted), stamp_of(wanted)) or not _runs(template, wanted):
            return False
        if status.get("observedGeneration", 0) < found["metadata"]["generation"]:
            return False
        pods, updated, available = (status.get(one, 0) for one in ("replicas", "updatedReplicas", "availableReplicas"))
        if whole:
            return bool(updated == pods == available == found["spec"].get("replicas") and available >= least)
        return bool(updated == pods and available > 0)

    def servers_say(self, name: str, fingerprint: str, url: str, pods: list[dict[str, Any]] | None) -> bool | None:
        """Whether every server has loaded it; None where none of them can be reached."""
        addresses = [address for one in pods or () if (address := pod_address(one))]
        answers = [server_says(self._cluster, one, name, fingerprint) for one in addresses]
        if not any(answer is not None for answer in answers) and url:
            return server_says(self._cluster, url, name, fingerprint)
        if False in answers:
            return False
        return True if answers and None not in answers else None


def component_of(wanted: dict[str, Any]) -> str:
    """The name that KServe gives the Deployment and the Service of the predictor of an InferenceService."""
    names = [wanted["metadata"]["name"], wanted["spec"]["predictor"].get("name"), "predictor"]
    return "-".join(filter(None, names))


def pods_of(cluster: Cluster, name: str, component: str = "") -> list[dict[str, Any]] | None:
    """The pods of an InferenceService that are neither over nor being deleted; None where they may not be read.

    Args:
        cluster: The API.
        name: Of the InferenceService.
        component: Name of the one Deployment of it that is meant; "": all.
    """
    labels = f"{POD_LABEL}={name}" + (f",app=isvc.{component}" if component else "")
    try:
        pods = cluster.get(core(cluster.namespace, "pods"), labelSelector=labels)
    except ForbiddenError:
        return None
    # One that is over, as after an eviction, stays beside the one that takes its place.
    return [
        one
        for one in pods["items"]
        if not one["metadata"].get("deletionTimestamp") and one.get("status", {}).get("phase") not in _OVER
    ]


def server_says(cluster: Cluster, url: str, name: str, fingerprint: str) -> bool | None:
    """Whether a server has loaded a bundle as the model `name`; None where it does not answer."""
    cluster.before_call()
    try:
        return ModelServer(f"{url}/v1/models/{name}", _ASK_SECONDS).serves(1, fingerprint)
    except TransientError:
        return None


def shares_requests(found: dict[str, Any]) -> bool:
    """Whether an InferenceService has canaries, which get a part of its requests; ours are there in rollouts only."""
    return bool(found["spec"].get("canary"))


def _doubt(found: dict[str, Any], wanted: dict[str, Any], with_canaries: bool) -> str:
    """Why an InferenceService does not say itself that all requests get what is wanted; "" where it does."""
    if shares_requests(found) and not with_canaries:
        return "somebody gave it spec.canary, which gets a part of the requests"
    return "" if has_spec(found, wanted) else "its spec is not what was written: somebody changed it"


def _runs(template: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a Deployment's pods have the container that is wanted; a runtime adds fields of its own."""
    predictor = wanted["spec"]["predictor"]
    given = predictor["model"] if "model" in predictor else (predictor.get("containers") or [{}])[0]
    there = template["spec"]["containers"]
    container = next((one for one in there if one.get("name") == _CONTAINER), there[0])
    return has(container, {name: given[name] for name in _COMPARED if given.get(name)})


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether requests are sent to a pod."""
    return condition(pod.get("status", {}), "Ready").get("status") == "True"


def pod_address(pod: dict[str, Any], *, ready: bool = True) -> str:
    """Where the server of a pod that is ready answers; "" for one that is not, where it must be."""
    address = pod.get("status", {}).get("podIP")
    if not address or (ready and not is_ready(pod)):
        return ""
    ports = [port for one in pod["spec"]["containers"] for port in one.get("ports") or ()]
    port = ports[0]["containerPort"] if ports else PORT
    return f"http://{f'[{address}]' if ':' in address else address}:{port}"


def is_wanted(pod: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a pod is to serve the model of an InferenceService."""
    return bool(
        pod["metadata"].get("annotations", {}).get(SOURCE) == address_of(wanted) and stamp_of(pod) == stamp_of(wanted)
    )


def condition(status: dict[str, Any], kind: str) -> dict[str, str]:
    """A condition in the status of an object, {} where it has none of this kind."""
    return next((one for one in status.get("conditions") or () if one["type"] == kind), {})


def revision_of(status: dict[str, Any]) -> str:
    """The name of the ReplicaSet that the condition PredictorReady tells; "" while it rolls."""
    ready = condition(status, "PredictorReady")
    match = re.search(r'ReplicaSet "([^"]+)"', ready.get("message", ""))
    return match[1] if match and ready.get("reason") == "NewReplicaSetAvailable" else ""


def _status_says(status: dict[str, Any], before: str) -> bool:
    ready = condition(status, "PredictorReady").get("status") == "True"
    return ready and revision_of(status) not in ("", before)


def _revision(status: dict[str, Any], name: str, pods: list[dict[str, Any]] | None, wanted: dict[str, Any]) -> str:
    hashes = {
        one["metadata"].get("labels", {}).get("pod-template-hash") for one in pods or () if is_wanted(one, wanted)
    }
    if len(hashes) == 1 and (one := hashes.pop()):
        return f"{name}-predictor-{one}"
    return revision_of(status)
