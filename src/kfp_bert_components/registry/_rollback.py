"""Rollback: the pointer moves to an older version, by compare-and-swap as in promotion."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kfp_bert_components.errors import ConflictError, DamagedError, NotFoundError, UserError
from kfp_bert_components.origin import Origin
from kfp_bert_components.registry._read import read_champion, read_version, require_champion
from kfp_bert_components.registry._records import Champion, Version, dump, stamp
from kfp_bert_components.storage import Store


def rollback(store: Store, version: int | None, reason: str, origin: Origin) -> Champion:
    """See `Registry.rollback`."""
    champion = require_champion(store)
    target = version
    if target is None and (target := previous_champion(store, champion)) is None:
        raise UserError(f"There is no champion before version {champion.version} to go back to.")
    if target == champion.version:
        raise UserError(f"Version {target} is the champion already: give an older version.")
    _check_files(store, read_version(store, target))
    after = _move(store, champion, target, reason, origin)
    try:
        read_version(store, target)
    except NotFoundError:
        # A removal deletes the record and then looks at the pointer; we moved it first and look at the record.
        _move(store, after, champion.version, f"version {target} was removed at the same moment", origin)
        raise ConflictError(f"Version {target} was removed at the same moment: choose another one.") from None
    return after


def _check_files(store: Store, version: Version) -> None:
    """Refuse a version of which a file is missing or has another size; `verify` reads the files too."""
    start = f"versions/{version.version}/"
    there = {entry.name[len(start) :]: entry.size for entry in store.list(start, checksums=False)}
    for name, known in version.files.items():
        if there.get(name) != known["size"]:
            wrong = "has another size than when it was stored" if name in there else "is missing"
            raise UserError(
                f"Version {version.version} can't be champion: {store.describe(start + name)} {wrong}. Restore it from "
                "a backup, or choose another version with --to."
            )


def _move(store: Store, champion: Champion, target: int, reason: str, origin: Origin) -> Champion:
    identity = f"rollback-{uuid.uuid4().hex}"
    event = {
        "event": "rolled back",
        "version": target,
        "previous": champion.version,
        "decision_id": identity,
        **stamp(origin),
        "reason": reason,
    }
    value = {"version": target, "decision_id": identity, "log": [*champion.log, event]}
    try:
        store.write("champion.json", dump(value), if_generation=champion.generation)
    except ConflictError:
        current = require_champion(store)
        if all(one["decision_id"] != identity for one in current.log):  # else our reply was lost
            raise ConflictError(
                f"Version {current.version} became champion at the same moment (by {current.by} at "
                f"{current.at}): look at the history and decide again."
            ) from None
    return require_champion(store)


def previous_champion(store: Store, champion: Champion) -> int | None:
    """The champion before this one, if its version still exists, or the one before that; None if there is none.

    A rollback takes a step back in the path: a second one goes back another step.
    """
    path: list[int] = []
    for event in champion.log:
        if event["version"] in path:
            del path[path.index(event["version"]) :]
        path.append(event["version"])
    return next((number for number in reversed(path[:-1]) if is_readable(store, number)), None)


def rolled_back_from(store: Store, fingerprint: str) -> Mapping[str, Any] | None:
    """See `Registry.rolled_back_from`."""
    moves: dict[int, Mapping[str, Any]] = {}
    champion = read_champion(store)
    for event in champion.log if champion else ():
        moves.pop(event["version"], None)
        if event["event"] == "rolled back":
            moves[event["previous"]] = event
    for number, event in reversed(moves.items()):
        with suppress(NotFoundError, DamagedError):  # gc may have removed it, or it was left because it is damaged
            if read_version(store, number).bundle_fingerprint == fingerprint:
                return event
    return None


def is_readable(store: Store, number: int) -> bool:
    """Whether a version is there, and its record can be read: only then one can go back to it."""
    try:
        read_version(store, number)
    except (NotFoundError, DamagedError):
        return False
    return True
