"""Whether a gateway shares the requests to an InferenceService: its HTTPRoute of the Gateway API, looked at.

With `enableGatewayApi` KServe makes an HTTPRoute with the name of each InferenceService in the mode Standard, and newer
versions write the weights of `spec.canary` into it. docs/kserve.md names the sources.
"""

from __future__ import annotations

from typing import Any

from kfp_bert_components.errors import NotFoundError
from kfp_bert_components.kserve.objects import KIND
from kfp_bert_components.kserve.paths import GATEWAY, http_route
from kfp_bert_components.kubernetes_api import Cluster, ForbiddenError

_SCHEMAS = "/openapi/v3/apis/serving.kserve.io/v1beta1"  # every account that is known may read it
_KINDS = "x-kubernetes-group-version-kind"


def is_installed(cluster: Cluster) -> bool:
    """Whether the cluster has the kinds of the Gateway API."""
    try:
        return cluster.find(GATEWAY) is not None
    except ForbiddenError:
        return False


def has_canaries(cluster: Cluster) -> bool:
    """Whether the InferenceServices of the cluster have the field `spec.canary`, as of KServe 0.20."""
    try:
        schemas = cluster.get(_SCHEMAS).get("components", {}).get("schemas", {})
    except (ForbiddenError, NotFoundError):
        return False
    of_services = [one for one in schemas.values() if KIND["kind"] in [kind["kind"] for kind in one.get(_KINDS, ())]]
    return any("canary" in one["properties"]["spec"].get("properties", {}) for one in of_services)


def route_of(cluster: Cluster, found: dict[str, Any]) -> dict[str, Any] | None:
    """The HTTPRoute by which requests come to an InferenceService; None where KServe made none.

    Raises:
        ForbiddenError: It may not be read.
        TransientError, UserError: The API can't be asked.
    """
    route = cluster.find(http_route(cluster.namespace, found["metadata"]["name"]))
    return route if route and is_owned(route, found["metadata"]["uid"]) else None


def is_owned(one: dict[str, Any], uid: str) -> bool:
    """Whether an object was made for the object with this uid."""
    return any(owner.get("uid") == uid for owner in one["metadata"].get("ownerReferences") or ())


def share_of(route: dict[str, Any] | None, service: str) -> int | None:
    """The share of the requests, in percent, that an HTTPRoute gives a Service.

    None where it does not name the Service, or where its rules do not agree.
    """
    rules = [one["backendRefs"] for one in (route or {}).get("spec", {}).get("rules") or () if one.get("backendRefs")]
    shares = [_share(one, service) for one in rules]
    return shares[0] if shares and len(set(shares)) == 1 else None


def _share(backends: list[dict[str, Any]], service: str) -> int | None:
    weights = {one["name"]: int(one.get("weight", 1)) for one in backends}
    whole = sum(weights.values())
    return round(100 * weights[service] / whole) if service in weights and whole else None


def was_followed(route: dict[str, Any]) -> bool:
    """Whether a gateway has taken over an HTTPRoute, as it is or as it was: it may be late."""
    return any((one["type"], one["status"]) == ("Accepted", "True") for one in _conditions(route))


def _conditions(route: dict[str, Any]) -> list[dict[str, Any]]:
    parents = route.get("status", {}).get("parents") or ()
    return [one for parent in parents for one in parent.get("conditions") or ()]


def is_followed(route: dict[str, Any]) -> bool:
    """Whether the gateways say that they have taken over an HTTPRoute as it is now."""
    conditions, generation = _conditions(route), route["metadata"].get("generation", 0)
    return bool(conditions) and all(
        one["status"] != "False" and one.get("observedGeneration", generation) >= generation for one in conditions
    )
