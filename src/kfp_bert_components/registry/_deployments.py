"""Deployment records: one JSON a target, changed by compare-and-swap."""

from __future__ import annotations

import uuid
from typing import Any

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.registry._records import STATES, Deployment, author, check_target, dump, load, now
from kfp_bert_components.storage import Store

_LOG = 200  # newest moves kept in a record
_TRIES = 20


def read_deployment(store: Store, target: str) -> Deployment:
    """The record of a target; state "none" and generation 0 where there is none."""
    value, generation = _read(store, target)
    return _deployment(value, generation) if value else Deployment(target, "none", None, 0)


def write_deployment(
    store: Store,
    target: str,
    state: str,
    version: int,
    reason: str,
    if_generation: int | None,
    details: dict[str, Any] | None,
) -> Deployment:
    """Write a target's record; see `Registry.record_deployment`."""
    if state not in STATES:
        raise UserError(f"{state!r} is no state of a deployment: give one of {', '.join(STATES)}.")
    for _ in range(_TRIES):
        value, generation = _read(store, target)
        if if_generation is not None and generation != if_generation:
            raise _taken(target, value)
        record = _next(value, target, state, version, reason, details)
        try:
            return _deployment(record, store.write(_name(target), dump(record), if_generation=generation))
        except ConflictError:
            value, generation = _read(store, target)
            if value.get("id") == record["id"]:  # our own write, whose reply was lost
                return _deployment(record, generation)
            if if_generation is not None:
                raise _taken(target, value) from None
    raise ConflictError(f"The deployment record of {target} changes all the time: try again later.")


def _next(
    value: dict[str, Any], target: str, state: str, version: int, reason: str, details: dict[str, Any] | None
) -> dict[str, Any]:
    at, by = now(), author()
    log = list(value.get("log", []))
    # A deployment repeats its state as a sign of life: the log keeps only what changed.
    if not log or (log[-1]["state"], log[-1]["version"], log[-1]["reason"]) != (state, version, reason):
        log.append({"state": state, "version": version, "reason": reason, "at": at, "by": by})
    return {
        "id": uuid.uuid4().hex,
        "target": target,
        "state": state,
        "version": version,
        "reason": reason,
        "live_version": version if state == "live" else value.get("live_version"),
        "at": at,
        "by": by,
        "details": value.get("details", {}) if details is None else details,
        "log": log[-_LOG:],
    }


def _deployment(value: dict[str, Any], generation: int) -> Deployment:
    return Deployment(
        target=value["target"],
        state=value["state"],
        version=value["version"],
        generation=generation,
        reason=value["reason"],
        live_version=value["live_version"],
        at=value["at"],
        by=value["by"],
        details=value["details"],
        log=tuple(value["log"]),
    )


def _read(store: Store, target: str) -> tuple[dict[str, Any], int]:
    try:
        return load(store, _name(target), dict)
    except NotFoundError:
        return {}, 0


def _name(target: str) -> str:
    return f"deployments/{check_target(target)}.json"


def _taken(target: str, value: dict[str, Any]) -> ConflictError:
    if not value:
        return ConflictError(f"The deployment record of {target} was removed since it was read: run again.")
    return ConflictError(
        f"The deployment record of {target} was changed by {value['by']} at {value['at']}: it says that "
        f"version {value['version']} is {value['state']}. Run again to continue from there."
    )
