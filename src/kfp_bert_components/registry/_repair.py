"""Repair: a registry whose champion is lost or damaged gets a whole version as its champion."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from kfp_bert_components.errors import ConflictError, DamagedError, NotFoundError, UserError
from kfp_bert_components.origin import Origin
from kfp_bert_components.registry._files import delete_files, removed_name
from kfp_bert_components.registry._read import (
    read_champion,
    read_version,
    require_champion,
    version_numbers,
    was_champion,
)
from kfp_bert_components.registry._records import Champion, Version, author, dump, now, stamp
from kfp_bert_components.registry._verify import check_files
from kfp_bert_components.storage import Generation, Store


@dataclass
class Diagnosis:
    """What is wrong with the champion.

    Attributes:
        problem: One sentence; "" if nothing is wrong.
        cause: The same in a few words, for the history.
        whole: The versions that can be champion, oldest first: all their files are as they were stored.
        damaged: What is wrong with the other complete versions, by number.
    """

    problem: str = ""
    cause: str = ""
    whole: list[Version] = field(default_factory=list)
    damaged: dict[int, str] = field(default_factory=dict)


def diagnose(store: Store) -> Diagnosis:
    """See `Registry.diagnose`."""
    found = Diagnosis(*_problem(store))
    for number in version_numbers(store) if found.problem else ():
        try:
            version = read_version(store, number)
        except NotFoundError:
            continue
        except DamagedError as error:
            found.damaged[number] = str(error)
            continue
        if problems := check_files(store, [version]):
            found.damaged[number] = problems[0]
        else:
            found.whole.append(version)
    return found


def repair(store: Store, version: int, origin: Origin) -> Champion:
    """See `Registry.repair`."""
    found = diagnose(store)
    numbers = [one.version for one in found.whole]
    if not found.problem:
        raise UserError(f"The champion of {store.uri} is whole: there is nothing to repair. To go back use rollback.")
    if version not in numbers:
        known = ", ".join(map(str, numbers)) or "none"
        raise UserError(f"Version {version} can't be champion: {_why_not(found, version)}. Whole versions: {known}.")
    champion, generation = _old(store)
    log = (
        list(champion.log) if champion else [_promoted(one) for one in found.whole if was_champion(store, one.version)]
    )
    identity = f"repair-{uuid.uuid4().hex}"
    event = {
        "event": "repaired",
        "version": version,
        "previous": champion.version if champion else None,
        "decision_id": identity,
        **stamp(origin),
        "reason": found.cause,
    }
    value = {"version": version, "decision_id": identity, "log": [*log, event]}
    try:
        store.write("champion.json", dump(value), if_generation=generation)
    except ConflictError:
        if require_champion(store).decision_id != identity:  # else our reply was lost
            raise
    return require_champion(store)


def start_over(store: Store) -> list[int]:
    """See `Registry.start_over`."""
    found = diagnose(store)
    if not found.problem:
        raise UserError(f"The champion of {store.uri} is whole: there is nothing to repair.")
    if found.whole:
        known = ", ".join(str(one.version) for one in found.whole)
        raise UserError(f"There is no need to start over: whole versions are {known}; choose one with --version.")
    numbers = version_numbers(store)
    champion, generation = _old(store)
    named = {event["version"] for event in (champion.log if champion else ())}  # which may be lost
    for number in sorted({*numbers, *named}):
        why = found.damaged.get(number, "it never became complete" if number in numbers else "it was lost")
        record = {"version": number, "at": now(), "by": author(), "reason": f"starting over, because {why}"}
        store.write(removed_name(number), dump(record))
    if generation:
        store.delete("champion.json", if_generation=generation)
    for number in numbers:
        delete_files(store, number)
    return numbers


def _problem(store: Store) -> tuple[str, str]:
    """What is wrong with the champion, as a sentence and in a few words."""
    try:
        champion = read_champion(store)
    except DamagedError as error:
        return str(error), f"champion.json was {'damaged' if store.exists('champion.json') else 'lost'}"
    if champion is None:
        return "", ""
    try:
        problems = check_files(store, [read_version(store, champion.version)])
    except NotFoundError:
        return (
            f"The champion is version {champion.version}, which is not there.",
            f"version {champion.version} was lost",
        )
    except DamagedError as error:
        problems = [str(error)]
    return (problems[0], f"version {champion.version} was damaged") if problems else ("", "")


def _old(store: Store) -> tuple[Champion | None, Generation]:
    """The pointer as far as it can be read, and the generation of its file; None and 0 where there is none."""
    try:
        generation = store.read("champion.json").generation
    except NotFoundError:
        return None, 0
    try:
        champion = read_champion(store)
    except DamagedError:
        return None, generation
    return champion, champion.generation if champion else generation


def _promoted(version: Version) -> dict[str, Any]:
    """The event of a promotion, from the record of the version: the log was lost."""
    return {
        "event": "promoted",
        "version": version.version,
        "previous": version.parent,
        "decision_id": version.decision_id,
        "at": version.at,
        "by": version.by,
        "reason": version.reason,
        "origin": version.origin,
    }


def _why_not(found: Diagnosis, version: int) -> str:
    return found.damaged.get(version, "it is not there").rstrip(".")
