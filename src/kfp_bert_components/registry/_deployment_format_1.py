"""Reads deployment records of format 1, which named their place among the facts of the rollout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_STEPS = {"canary": "introducing"}  # states that have another name now


def from_format_1(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of the newest format."""
    details = dict(fields["details"])
    facts, live = details.get("facts", {}), details.get("live", {})
    before = live.get("facts", {})
    if "step" in details:
        details["step"] = _STEPS.get(details["step"], details["step"])
    details["facts"] = _named(facts)
    if live:
        details["live"] = {**live, "facts": _named(before)}
    details["memory"] = _memory(facts, before)
    return {
        **fields,
        "details": details,
        "place": place_of(facts) or place_of(before),
        "served": _served(facts),
        "live_served": _served(before),
    }


def place_of(facts: Mapping[str, Any]) -> dict[str, str]:
    """The identity of the place that the facts of a rollout name; {} where they name none."""
    if "directory" in facts:
        return {"kind": "serving directory", "uri": facts["directory"]}
    parts = str(facts.get("endpoint", "")).split("/")
    if len(parts) != 6:
        return {}
    return {"kind": "AI Platform endpoint", "project": parts[1], "location": parts[3], "endpoint": parts[5]}


def _served(facts: Mapping[str, Any]) -> str:
    return str(facts.get("number") or facts.get("deployed") or "")


def _named(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {**facts, "served": _served(facts)} if _served(facts) else dict(facts)


def _memory(facts: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers, or deployed models, that the record names: all of them are its own."""
    if numbers := [one["number"] for one in (facts, live) if "number" in one]:
        return {"number": max(numbers), "served": [live["number"]] if "number" in live else []}
    models = {number for one in (facts, live) for number in (one.get("deployed", ""), *one.get("before", {}))}
    return {"models": sorted(models - {""})} if models - {""} else {}
