"""The command that deploys the champion to a place, made of the place's deployment record."""

import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from kfp_bert_components.registry import Deployment


def deploy_command(registry: str, record: Deployment) -> str:
    """The whole command, or "" where the record does not say which place it is about.

    Args:
        registry: URI of the registry.
        record: The deployment record of the place.
    """
    place = _place(record)
    given = {"registry": _as_written(registry)}
    if place.get("kind") == "serving directory":
        component, given["serving_directory"] = "deploy_to_serving_directory", _as_written(place["uri"])
    elif place.get("kind") == "AI Platform endpoint":
        component = "deploy_to_ai_platform"
        given |= {name: place[name] for name in ("project", "location", "endpoint")}
    elif place.get("kind") == "KServe":
        component = "deploy_to_kserve"
        given |= {name: place[name] for name in ("name", "namespace")}
    else:
        return ""
    given["deployment_target"] = record.target
    return " ".join(
        [
            f"kfp-bert run kfp_bert_components:{component}",
            *(f"-p {shlex.quote(f'{name}={value}')}" for name, value in given.items()),
        ]
    )


def _as_written(uri: str) -> str:
    """The address as a parameter takes it, which refuses white space around a path that is not percent-encoded."""
    return uri if uri == uri.strip() else f"file://{quote(uri)}"


def served(record: Deployment) -> str:
    """What the place calls the version that is live there: the number of its folder, or the id of a deployed model."""
    facts = _live_facts(record)
    known = getattr(record, "live_served", "") or facts.get("served") or facts.get("number") or facts.get("deployed")
    return str(known or "")


def place_name(record: Deployment) -> str:
    """The address of the place, "" where the record does not know it."""
    place = _place(record)
    if place.get("kind") == "KServe":
        return f"{place['namespace']}/{place['name']}" + (f" (cluster {one})" if (one := place.get("cluster")) else "")
    return str(place.get("uri") or place.get("endpoint") or "")


def cluster_of(record: Deployment) -> str:
    """Which cluster an InferenceService is on, in words; "" where the record does not know it, and for other places."""
    place = _place(record)
    cluster = place.get("cluster", "")
    if not cluster:
        return ""
    if "://" in cluster:
        return f"the cluster at {cluster}"
    return f"the cluster on which the namespace {place['namespace']} has the uid {cluster}"


def _place(record: Deployment) -> Mapping[str, Any]:
    """As `identity`, with the address of a folder as it was given."""
    return record.place_as_given() or identity(record)


def identity(record: Deployment) -> Mapping[str, Any]:
    """The identity of the place; an older record has it among the facts of the rollout."""
    if place := getattr(record, "place", {}):
        return place
    for facts in _facts(record):
        if "directory" in facts:
            return {"kind": "serving directory", "uri": facts["directory"]}
        parts = str(facts.get("endpoint", "")).split("/")
        if len(parts) == 6:
            return {"kind": "AI Platform endpoint", "project": parts[1], "location": parts[3], "endpoint": parts[5]}
    return {}


def _facts(record: Deployment) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The facts of what is live, and of the last rollout."""
    return _live_facts(record), record.details.get("facts", {})


def _live_facts(record: Deployment) -> Mapping[str, Any]:
    return record.details.get("live", {}).get("facts", {})
