"""Deployment records: one JSON a target, changed by compare-and-swap.

Format 2 knows the place that the record is about (`place`), what the place calls the version (`served`), and keeps
what must not be forgotten (`details.memory`).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, Literal

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.origin import Origin, read_origin
from kfp_bert_components.records import build, check_types, dump_record, load_record, require
from kfp_bert_components.registry._deployment_checks import STATES, check_details, check_place
from kfp_bert_components.registry._deployment_format_1 import from_format_1, place_of
from kfp_bert_components.registry._read import targets
from kfp_bert_components.registry._records import Deployment, check_target, stamp
from kfp_bert_components.storage import Generation, Store

FORMAT = 2
_EVENT = {"state": Literal[STATES], "version": int, "reason": str, "at": str, "by": str}
_ADDED = {"place": dict[str, str], "live": int | None, "live_is_known": bool}  # which older entries lack
_LOG = 200  # newest moves kept in a record
_TRIES = 20
_REMEDY = (
    "restore it from a backup, or, if it is about a serving directory, delete it: the next deployment knows the "
    "directory by the owner in it, and writes the record anew"
)


def read_deployment(store: Store, target: str) -> Deployment:
    """The record of a target; state "none" and generation 0 where there is none."""
    value, generation = _read(store, target)
    return _deployment(value, generation) if value else Deployment(target, "none", None, 0)


def read_deployments(store: Store) -> tuple[dict[str, Deployment], list[str]]:
    """The records of all targets by name, and what is wrong with those that can't be read."""
    found, damaged = {}, []
    for target in targets(store):
        try:
            found[target] = read_deployment(store, target)
        except UserError as error:
            damaged.append(str(error))
    return found, damaged


def write_deployment(
    store: Store,
    target: str,
    state: str,
    version: int,
    reason: str = "",
    if_generation: Generation | None = None,
    details: Mapping[str, Any] | None = None,
    place: Mapping[str, str] | None = None,
    served: str = "",
    registry_id: Callable[[], str] = str,
    *,
    origin: Origin,
) -> Deployment:
    """Write a target's record; see `Registry.record_deployment`. A record without the registry's id gets it."""
    if state not in STATES:
        raise UserError(f"{state!r} is no state of a deployment: give one of {', '.join(STATES)}.")
    new = {"state": state, "version": version, "reason": reason, "served": served}
    for _ in range(_TRIES):
        value, generation = _read(store, target)
        if if_generation is not None and generation != if_generation:
            raise _taken(target, value)
        record = _next(value, target, new, details, place, stamp(origin))
        record["registry"] = value.get("registry") or registry_id()
        data = dump_record(record, FORMAT).encode()
        try:
            return _deployment(json.loads(data), store.write(_name(target), data, if_generation=generation))
        except ConflictError:
            value, generation = _read(store, target)
            if value.get("id") == record["id"]:  # our own write, whose reply was lost
                return _deployment(value, generation)
            if if_generation is not None:
                raise _taken(target, value) from None
    raise ConflictError(f"The deployment record of {target} changes all the time: try again later.")


def _next(
    value: Mapping[str, Any],
    target: str,
    new: Mapping[str, Any],
    details: Mapping[str, Any] | None,
    place: Mapping[str, str] | None,
    written: Mapping[str, Any],
) -> dict[str, Any]:
    details = value.get("details", {}) if details is None else details
    live = _live(value, new, details, place)
    return {
        "id": uuid.uuid4().hex,
        "target": target,
        **new,
        **live,
        "place": value.get("place", {}) if place is None else place,
        **written,
        "details": details,
        "log": _log(value, new, {**_after(new, live, details), **_moved(value, place), **written}),
    }


def _moved(value: Mapping[str, Any], place: Mapping[str, str] | None) -> dict[str, Any]:
    """What the log says of the place: where the entry is about another one than that before."""
    before = next((one["place"] for one in reversed(value.get("log", [])) if "place" in one), value.get("place", {}))
    return {} if place in (None, before) else {"place": place}


def _after(new: Mapping[str, Any], live: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Any]:
    """What the log says of a failure besides: what serves then."""
    if new["state"] != "failed":
        return {}
    return {"live": live["live_version"], "live_is_known": details.get("live_is_known", True)}


def _live(
    value: Mapping[str, Any], new: Mapping[str, Any], details: Mapping[str, Any], place: Mapping[str, str] | None
) -> dict[str, Any]:
    """What is live at the place after this write: the version, and what the place calls it."""
    if new["state"] == "live":
        return {"live_version": new["version"], "live_served": new["served"]}
    if value.get("details", {}).get("live") and details.get("live") == {}:
        return {"live_version": None, "live_served": ""}
    live = details.get("live", {})
    seen = live.get("facts", {}).get("served", "")
    if not seen and (place is None or value.get("place") in (None, {}, place)):
        return {"live_version": value.get("live_version"), "live_served": value.get("live_served", "")}
    return {"live_version": live.get("version"), "live_served": str(seen)}


def _log(value: Mapping[str, Any], new: Mapping[str, Any], written: Mapping[str, Any]) -> list[dict[str, Any]]:
    log = list(value.get("log", []))
    entry = {name: new[name] for name in ("state", "version", "reason")}
    # A deployment repeats its state as a sign of life: the log keeps only what changed.
    if not log or any(log[-1][name] != entry[name] for name in entry):
        log.append({**entry, **written})
    return log[-_LOG:]


def _deployment(value: Mapping[str, Any], generation: Generation) -> Deployment:
    later = {"registry": value.get("registry", ""), "origin": value.get("origin", {})}
    known = {one.name: value[one.name] for one in fields(Deployment) if one.name not in {"generation", *later}}
    found = build(Deployment, known | later | {"generation": generation})
    return replace(found, log=tuple(found.log))


def _read(store: Store, target: str) -> tuple[dict[str, Any], Generation]:
    name = _name(target)
    try:
        blob = store.read(name)
    except NotFoundError:
        return {}, 0
    readers = {1: lambda found: _from_format_2(from_format_1(found)), FORMAT: _from_format_2}
    return load_record(blob.data, store.describe(name), readers, _REMEDY), blob.generation


def _from_format_2(found: dict[str, Any]) -> dict[str, Any]:
    record = _deployment(found, 0)
    for event in record.log:
        require(event, _EVENT)
        check_types(event, _EVENT | _ADDED)
        read_origin(event.get("origin", {}))
    check_details("", record.state, record.details)
    for entry in record.details.get("elsewhere", {}).values():
        check_details("", entry["state"], entry)  # before its place is taken from it
    for one in (record, *record.elsewhere()):
        check_place(one.place)
        check_details(one.place.get("kind", ""), one.state, one.details)
    read_origin(record.origin)
    return {**found, "place": _by_its_id(found["place"], found["details"])}


def _by_its_id(place: dict[str, str], details: Mapping[str, Any]) -> dict[str, str]:
    """The place of a record, which named an endpoint in the words of a step before; the facts know its id."""
    named = place_of(details.get("facts", {})) or place_of(details.get("live", {}).get("facts", {}))
    return {**place, **({"endpoint": named["endpoint"]} if "endpoint" in place and "endpoint" in named else {})}


def _name(target: str) -> str:
    return f"deployments/{check_target(target)}.json"


def _taken(target: str, value: Mapping[str, Any]) -> ConflictError:
    if not value:
        return ConflictError(f"The deployment record of {target} was removed since it was read: run again.")
    return ConflictError(
        f"The deployment record of {target} was changed by {value['by']} at {value['at']}: it says that "
        f"version {value['version']} is {value['state']}. Run again to continue from there."
    )
