"""The canary of an InferenceService in which a version is tested, and whether it serves: looked at.

It is the entry `next` of `spec.canary`. KServe makes a Deployment and a Service `NAME-next-predictor` of it. The second
InferenceService in the mode Standard has the same ones, so they are nobody else's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from kfp_bert_components.deployment import RolloutError
from kfp_bert_components.kserve.gateway import is_followed, route_of, share_of
from kfp_bert_components.kserve.objects import KIND, has
from kfp_bert_components.kserve.paths import inference_service
from kfp_bert_components.kserve.settings import NEXT
from kfp_bert_components.kserve.witnesses import (
    DEPLOYMENT,
    SERVERS,
    Seen,
    Witnesses,
    condition,
    pods_of,
    server_says,
)
from kfp_bert_components.kubernetes_api import Cluster

CANARY_NAME = NEXT.removeprefix("-")
REPLICAS = ("minReplicas", "maxReplicas")


def canary_of(service: dict[str, Any]) -> dict[str, Any]:
    """The canary that serves what an InferenceService serves, without a share and a number of pods."""
    predictor = {key: value for key, value in service["spec"]["predictor"].items() if key not in REPLICAS}
    return {"predictor": {**predictor, "name": CANARY_NAME}}


def with_share(canary: dict[str, Any], percent: int, pods: int = 0) -> dict[str, Any]:
    """A canary with a share of the requests, and with a number of pods; 0: the share's part of the predictor's."""
    predictor = {**canary["predictor"], **({"minReplicas": pods} if pods else {})}
    return {**canary, "predictor": predictor, "trafficPercent": percent}


def canaries_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """All canaries of an InferenceService."""
    return list(found["spec"].get("canary") or ())


def find_canary(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """The one with our name."""
    return (
        next((one for one in canaries_of(found) if one["predictor"].get("name") == CANARY_NAME), None)
        if found
        else None
    )


def without_canaries(found: dict[str, Any]) -> dict[str, Any]:
    """An InferenceService without its canaries."""
    return {**found, "spec": {key: value for key, value in found["spec"].items() if key != "canary"}}


def only_canaries(found: dict[str, Any], canaries: list[dict[str, Any]] | None) -> dict[str, Any]:
    """What is to be written of an InferenceService so that it has these canaries; None: so that nothing is ours."""
    metadata = {key: found["metadata"][key] for key in ("name", "namespace")}
    return {**KIND, "metadata": metadata, **({} if canaries is None else {"spec": {"canary": canaries}})}


def pods_of_spec(found: dict[str, Any]) -> list[int]:
    """The fewest and the most pods of an InferenceService."""
    predictor = found["spec"]["predictor"]
    least = int(predictor.get("minReplicas", 1))
    return [least, max(least, int(predictor.get("maxReplicas") or 0))]


def with_pods(found: dict[str, Any], least: int, most: int) -> dict[str, Any]:
    """An InferenceService with other numbers of pods."""
    predictor = {**found["spec"]["predictor"], "minReplicas": least, "maxReplicas": most}
    return {**found, "spec": {**found["spec"], "predictor": predictor}}


def only_pods(found: dict[str, Any], numbers: dict[str, int]) -> dict[str, Any]:
    """What is to be written of an InferenceService so that its predictor has these numbers of pods."""
    metadata = {key: found["metadata"][key] for key in ("name", "namespace")}
    return {**KIND, "metadata": metadata, "spec": {"predictor": numbers}}


def of_canary(name: str, canary: dict[str, Any]) -> dict[str, Any]:
    """A canary in the form of an InferenceService."""
    return {"metadata": {"name": name}, "spec": {"predictor": canary["predictor"]}}


def component(name: str) -> str:
    """The name of the canary's Deployment, Service and autoscaler."""
    return f"{name}{NEXT}-predictor"


def address_beside(url: str, name: str) -> str:
    """The address of the canary's Service, by that of the predictor's; "" where that is no name in the cluster."""
    parts = urlsplit(url)
    first, dot, rest = parts.netloc.partition(".")
    if not dot or first != f"{name}-predictor":
        return ""
    return urlunsplit(parts._replace(netloc=f"{component(name)}.{rest}"))


def as_its_canary(found: dict[str, Any]) -> dict[str, Any]:
    """An InferenceService whose status says of the predictor what it says of its canary, and nothing of the model."""
    status = {key: value for key, value in found.get("status", {}).items() if key != "modelStatus"}
    said = {**condition(status, "CanaryPredictorReady"), "type": "PredictorReady"}
    return {**found, "status": {**status, "conditions": [said]}}


class Canaries:
    """Looks at the canaries of the InferenceServices of a namespace.

    Args:
        cluster: The API.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._witnesses = cluster, Witnesses(cluster)

    def look(
        self, name: str, canary: dict[str, Any], fingerprint: str, *, pods: int = 1, percent: int | None = None
    ) -> Seen:
        """Look at one.

        Args:
            name: Of the InferenceService.
            canary: As it was written.
            fingerprint: Of the bundle that its servers are to have loaded.
            pods: How many must be there.
            percent: The share of the requests that the HTTPRoute is to give it; None: none is asked for.

        Raises:
            RolloutError: Its Deployment may not be read.
            TransientError, UserError: The API can't be asked.
        """
        found = self._cluster.find(inference_service(self._cluster.namespace, name))
        if found is None or found["metadata"].get("deletionTimestamp"):
            return Seen(False, service=found)
        there = pods_of(self._cluster, name, component(name))
        seen = Seen(False, service=found, pods=there)
        if not has(find_canary(found), canary):
            return replace(seen, doubt="its canary is not what was written: somebody changed it")
        says = self._witnesses.deployment_says(of_canary(name, canary), least=pods)
        if says is None:
            raise RolloutError(
                f"only the Deployment {component(name)} tells whether the canary of {name} serves, and this account "
                f"may not read it: give it the right to get deployments of the group apps in {self._cluster.namespace}"
            )
        if not says:
            return seen
        url = address_beside(str(found.get("status", {}).get("address", {}).get("url", "")), name)
        if doubt := self._doubt_of_servers(name, fingerprint, url, there):
            return replace(seen, doubt=doubt)
        if doubt := self._doubt(found, percent):  # which KServe does nothing about while the predictor is not ready
            return replace(seen, doubt=doubt, heals=says_ready(found))
        return replace(seen, serves=True, witnesses=(DEPLOYMENT, SERVERS), url=url)

    def _doubt_of_servers(self, name: str, fingerprint: str, url: str, pods: list[dict[str, Any]] | None) -> str:
        """What is wrong with the servers of a canary whose Deployment is as it should be; "" for nothing."""
        if not url:
            return (
                f"the address of {name} in its status is not the one of a Service, so that of its canary is not known"
            )
        if self._witnesses.servers_say(name, fingerprint, url, pods) is False:
            return f"the pods of {component(name)} are ready, and serve something else"
        says = server_says(self._cluster, url, name, fingerprint)
        problem = "does not answer" if says is None else "serves something else"
        return "" if says else f"the Service {component(name)} {problem} at {url}"

    def _doubt(self, found: dict[str, Any], percent: int | None) -> str:
        """What KServe, or the gateway, has not done yet for a canary whose pods serve; "" for nothing."""
        name, status = found["metadata"]["name"], found.get("status", {})
        told: list[dict[str, Any]] = status.get("canaryStatuses") or []
        if not any(one.get("ready") for one in told if one.get("name") == CANARY_NAME):
            return "KServe does not say yet that its canary is ready"
        if percent is None:
            return ""
        route = route_of(self._cluster, found)
        if share_of(route, component(name)) != percent:
            return f"its HTTPRoute does not give the canary {percent} % of the requests yet"
        return "" if route and is_followed(route) else "the gateway has not taken over its HTTPRoute as it is yet"


def says_ready(found: dict[str, Any]) -> bool:
    """Whether KServe says that the predictor is ready; it changes the HTTPRoute only then."""
    return condition(found.get("status", {}), "PredictorReady").get("status") == "True"
