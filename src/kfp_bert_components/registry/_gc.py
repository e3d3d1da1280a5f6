"""Garbage collection: remove versions that nothing needs, never the champion nor what is deployed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.registry._deployments import read_deployment
from kfp_bert_components.registry._files import promotion_name, remove_version
from kfp_bert_components.registry._read import read_champion, targets, version_numbers
from kfp_bert_components.registry._records import author, dump, load, now
from kfp_bert_components.storage import Store

_FORGET_HOURS = 24.0


@dataclass
class Sweep:
    """What gc keeps and removes, with the reason, by version."""

    keep: dict[int, str] = field(default_factory=dict)
    remove: dict[int, str] = field(default_factory=dict)


def plan(store: Store, keep: int = 5, unfinished_hours: float = 24.0) -> Sweep:
    """Say what gc would do.

    Args:
        store: The registry's store.
        keep: How many former champions to keep, the newest ones; at least 1, to roll back to.
        unfinished_hours: Age at which a version that never became champion is given up.
    """
    if keep < 1:
        raise UserError(f"keep is {keep}: keep at least 1 former champion, to roll back to.")
    found, protected = Sweep(), _protected(store)
    newest = "newest former champion" if keep == 1 else f"{keep} newest former champions"
    champion = read_champion(store)
    former: list[int] = []
    for event in reversed(champion.log if champion else ()):
        if event["version"] not in protected and event["version"] not in former:
            former.append(event["version"])
    for number in version_numbers(store):
        if number in protected:
            found.keep[number] = protected[number]
        elif number in former[:keep]:
            found.keep[number] = f"{'' if keep == 1 else 'one of '}the {newest}"
        elif number in former:
            found.remove[number] = f"older than the {newest}"
        else:
            age = _age_hours(store, number)
            if age is None:
                found.keep[number] = "never champion, and of unknown age: remove it by hand"
            elif age < unfinished_hours:
                found.keep[number] = f"never champion, but only {age:.1f} hours old: a run may be working on it"
            else:
                found.remove[number] = f"never became champion, {age:.0f} hours old"
    return found


def collect(store: Store, found: Sweep) -> list[int]:
    """Remove what a plan says, and return the versions removed.

    The record that makes a version visible goes first; then pointer and deployments are looked at again, and
    the record is put back if the version is needed after all. `rollback` does it the other way round (pointer
    first, then it looks at the record), so that at least one of the two notices.
    """
    removed = [number for number, why in found.remove.items() if _remove(store, number, why)]
    _forget(store)
    return removed


def _remove(store: Store, number: int, why: str) -> bool:
    name = f"versions/{number}/version.json"
    identity = ""
    with contextlib.suppress(NotFoundError):
        blob = store.read(name)
        identity, _ = load(store, name, lambda fields: str(fields["decision_id"]))
        try:
            store.delete(name, if_generation=blob.generation)
        except NotFoundError:
            pass
        except ConflictError:
            return False
        if number in _protected(store):
            store.write(name, blob.data, if_generation=0)
            return False
    identity = identity or _claim(store, number).get("decision_id", "")
    store.write(f"removed/{number}.json", dump({"version": number, "at": now(), "by": author(), "reason": why}))
    remove_version(store, number)
    if identity:
        with contextlib.suppress(NotFoundError):
            store.delete(promotion_name(identity))
    return True


def _forget(store: Store) -> None:
    """Remove the notes of promotions that are not under way any more: a day old and without a version."""
    numbers = set(version_numbers(store))
    for entry in store.list("promotions/", checksums=False):
        note, generation = load(store, entry.name, dict)
        if note["version"] not in numbers and _hours_since(note["at"]) > _FORGET_HOURS:
            with contextlib.suppress(NotFoundError, ConflictError):
                store.delete(entry.name, if_generation=generation)


def _protected(store: Store) -> dict[int, str]:
    """Versions that must stay, with the reason."""
    found: dict[int, str] = {}
    for target in targets(store):
        record = read_deployment(store, target)
        if record.version is not None:
            found[record.version] = f"{record.state} on {target}"
        if record.live_version is not None:
            found[record.live_version] = f"live on {target}"
    if champion := read_champion(store):
        found[champion.version] = "the champion"
    return found


def _claim(store: Store, number: int) -> Mapping[str, Any]:
    with contextlib.suppress(NotFoundError):
        return load(store, f"versions/{number}/claim.json", dict)[0]
    return {}


def _age_hours(store: Store, number: int) -> float | None:
    at = _claim(store, number).get("at")
    return _hours_since(at) if at else None


def _hours_since(at: str) -> float:
    made = datetime.fromisoformat(at.replace("Z", "+00:00"))
    return (datetime.now(UTC) - made).total_seconds() / 3600
