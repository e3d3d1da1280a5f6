"""What of a deployment record must be there, and of which kind, as rollouts go by it without another look."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kfp_bert_components.records import check_types, require

STATES = ("pending", "rolling", "live", "failed")
# The steps of a rollout in their order, as `deployment.states` has them, but for the last one, which takes it back.
STEPS = ("preparing", "introducing", "testing", "shifting", "finishing", "reverting")
_OF_DETAILS = dict.fromkeys(("facts", "memory", "live"), dict[str, Any]) | {
    "elsewhere": dict[str, dict[str, Any]],
    "step": str,
    "lease_seconds": float,
    "live_is_known": bool,
}
# What names a place, by its kind.
_PLACES = {
    "serving directory": ("uri",),
    "AI Platform endpoint": ("project", "location", "endpoint"),
    "KServe": ("namespace", "name"),
}
# What the facts of a version that serves must have, and besides where its own rollout ended live.
_LIVE = {"serving directory": ("number",), "AI Platform endpoint": ("endpoint", "deployed"), "KServe": ("served",)}
_ENDED = {"KServe": ("url",)}
# Those of a rollout, from a step on; on KServe also by the mode.
_NEEDED: dict[str, dict[str, tuple[str, ...]]] = {
    "serving directory": {"introducing": ("number",)},
    "AI Platform endpoint": {"introducing": ("endpoint", "model"), "testing": ("deployed",)},
    "KServe": {"introducing": ("before",)},
    "KServe Canary": {"testing": ("shares", "splits"), "finishing": ("pods", "pods_after")},
}
# What is noted together with a fact of a rollout.
_WITH: dict[str, tuple[str, tuple[str, ...]]] = {
    "AI Platform endpoint": ("deployed", ("before",)),
    "KServe": ("before", ("failure", "fingerprint")),
    "KServe Standard": ("before", ("revision",)),
    "KServe Canary": ("before", ("revision",)),
    "KServe Knative": ("before", ("rolled_out",)),
}


# An InferenceService, or a canary of one, as far as a rollout looks into what it noted.


@dataclass(frozen=True)
class _Metadata:
    name: str
    namespace: str
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Container:
    env: list[dict[str, Any]] = field(default_factory=list)
    storageUri: str = ""  # noqa: N815


@dataclass(frozen=True)
class _Predictor:
    name: str = ""
    minReplicas: int = 1  # noqa: N815
    maxReplicas: int = 1  # noqa: N815
    canaryTrafficPercent: int | None = None  # noqa: N815
    containers: list[_Container] = field(default_factory=list)
    model: _Container = field(default_factory=_Container)


@dataclass(frozen=True)
class _Spec:
    predictor: _Predictor


@dataclass(frozen=True)
class _Service:
    metadata: _Metadata
    spec: _Spec


_TEXTS = (
    *("directory", "holder", "fingerprint", "served", "endpoint", "model", "deployed", "shape", "upload", "operation"),
    *("mode", "url", "uid", "revision", "tested", "rolled_out"),
)
_FACTS: dict[str, Any] = dict.fromkeys(_TEXTS, str) | {"attempt": int, "number": int}
_FACTS_OF: dict[str, dict[str, Any]] = {
    "AI Platform endpoint": {
        **dict.fromkeys(("before", "others"), dict[str, int]),
        **dict.fromkeys(("ours", "operations_before"), list[str]),
    },
    "KServe": {
        "mode": Literal["Standard", "Canary", "Knative"],
        "before": _Service | None,
        "gave": dict[str, Any],
        "wrote": list[_Service] | _Service | None,
        "failure": dict[str, Any],
        "copied": bool,
        "splits": bool,
        "needed": int,
        "witnesses": list[str],
        "shares": list[int],
        **dict.fromkeys(("pods", "pods_after"), tuple[int, int]),
        "canaries": list[_Spec],
        "held": list[dict[str, int]],
    },
}
_IN_PROJECT = "projects/[^/]+/locations/[^/]+"
_FULL_NAMES = {
    "AI Platform endpoint": {
        "endpoint": re.compile(f"{_IN_PROJECT}/endpoints/[^/]+"),
        "model": re.compile(f"{_IN_PROJECT}/models/[^/@]+@[^/@]+"),
    }
}
_MEMORY: dict[str, Any] = dict.fromkeys(("served", "tried"), list[int]) | {
    "number": int,
    "models": list[str],
    "endpoint": str,
    "parent_model": str,
}


def check_place(place: Mapping[str, str]) -> None:
    """Raise an error where a place of a known kind lacks a part of its name."""
    require(place, _PLACES.get(place.get("kind", ""), ()))


def check_details(kind: str, state: str, details: Mapping[str, Any]) -> None:
    """Raise an error that names what of a place is not as a rollout writes it.

    Args:
        kind: Of the place; "" where it is not known.
        state: What the record says of the place.
        details: The details of the record, or its entry on a place elsewhere.
    """
    if state not in STATES:
        raise ValueError(f"state is {state!r}, which is none of {', '.join(STATES)}")
    check_types(details, _OF_DETAILS)
    check_types(details.get("memory", {}), _MEMORY)
    facts, live = details.get("facts", {}), details.get("live", {})
    _check_facts(kind, facts)
    if live:
        _check_live(kind, state, live)
    elif state == "live" and facts:
        raise ValueError("live is {}, but its state is 'live'")
    if state == "rolling":
        _check_rollout(kind, details.get("step", STEPS[0]), facts)


def _check_facts(kind: str, facts: Mapping[str, Any]) -> None:
    check_types(facts, _FACTS | _FACTS_OF.get(kind, {}))
    for name, value in facts.items():
        _check_names(name, value)
    for name, form in _FULL_NAMES.get(kind, {}).items():
        if name in facts and not form.fullmatch(facts[name]):
            raise ValueError(f"{name} is {facts[name]!r}, which is no full name such as AI Platform gives")


def _check_names(fact: str, value: Any) -> None:
    """Raise an error where an entry of a list, such as a container, has a name that is no text: they are told by it."""
    if isinstance(value, list):
        for one in value:
            if isinstance(one, dict) and not isinstance(one.get("name", ""), str):
                raise ValueError(f"{fact} has the name {json.dumps(one['name'])[:60]}, which is no text")
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_names(fact, one)


def _check_live(kind: str, state: str, live: Mapping[str, Any]) -> None:
    require(live, ("version", "facts"))
    check_types(live, {"version": int, "facts": dict[str, Any]})
    facts = live["facts"]
    _check_facts(kind, facts)
    require(facts, (*_LIVE.get(kind, ()), *(_ENDED.get(kind, ()) if state == "live" else ())))


def _check_rollout(kind: str, step: str, facts: Mapping[str, Any]) -> None:
    if step not in STEPS:
        raise ValueError(f"its rollout is {step!r}, which is none of {', '.join(STEPS)}")
    needed: list[str] = []
    for one in (kind, f"{kind} {facts.get('mode', 'Standard')}"):
        given, noted = _WITH.get(one, ("", ()))
        needed += noted if given in facts else ()
        for first, names in _NEEDED.get(one, {}).items():
            needed += names if step in STEPS[STEPS.index(first) : -1] else ()
    require(facts, needed)
