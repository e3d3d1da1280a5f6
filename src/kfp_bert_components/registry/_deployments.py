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
    if not value:
        return Deployment(target, "none", None, 0)
    return Deployment(
        target,
        value["state"],
        value["version"],
        generation,
        value["reason"],
        value["live_version"],
        value["at"],
        value["by"],
        value["details"],
        tuple(value["log"]),
    )


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
            store.write(_name(target), dump(record), if_generation=generation)
            break
        except ConflictError:
            value, _ = _read(store, target)
            if value.get("id") == record["id"]:  # our own write, whose reply was lost
                break
            if if_generation is not None:
                raise _taken(target, value) from None
    else:
        raise ConflictError(f"The deployment record of {target} changes all the time: try again later.")
    return read_deployment(store, target)


def _next(
    value: dict[str, Any], target: str, state: str, version: int, reason: str, details: dict[str, Any] | None
) -> dict[str, Any]:
    at, by = now(), author()
    log = [*value.get("log", []), {"state": state, "version": version, "reason": reason, "at": at, "by": by}]
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


def _read(store: Store, target: str) -> tuple[dict[str, Any], int]:
    try:
        return load(store, _name(target))
    except NotFoundError:
        return {}, 0


def _name(target: str) -> str:
    return f"deployments/{check_target(target)}.json"


def _taken(target: str, value: dict[str, Any]) -> ConflictError:
    if not value:
        return ConflictError(f"The deployment record of {target} was removed since it was read: run again.")
    return ConflictError(
        f"The deployment record of {target} was changed by {value['by']} at {value['at']}: it says that version "
        f"{value['version']} is {value['state']}. Run again to continue from there."
    )
