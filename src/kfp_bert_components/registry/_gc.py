"""Garbage collection: remove versions that nothing needs, never the champion nor what is deployed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.registry._files import memory_name, remove_version
from kfp_bert_components.registry._records import author, dump, load, now

if TYPE_CHECKING:
    from kfp_bert_components.registry._registry import Registry

_FORGET_HOURS = 24.0


@dataclass
class Sweep:
    """What gc keeps and removes, with the reason, by version."""

    keep: dict[int, str] = field(default_factory=dict)
    remove: dict[int, str] = field(default_factory=dict)


def plan(registry: Registry, keep: int = 5, unfinished_hours: float = 24.0) -> Sweep:
    """Say what gc would do.

    Args:
        registry: The registry.
        keep: How many former champions to keep, the newest ones; at least 1, to roll back to.
        unfinished_hours: Age at which a version that never became champion is given up.
    """
    if keep < 1:
        raise UserError(f"keep is {keep}: keep at least 1 former champion, to roll back to.")
    found, protected = Sweep(), _protected(registry)
    newest = "newest former champion" if keep == 1 else f"{keep} newest former champions"
    champion = registry.champion()
    former: list[int] = []
    for event in reversed(champion.log if champion else ()):
        if event["version"] not in protected and event["version"] not in former:
            former.append(event["version"])
    for number in registry.numbers():
        if number in protected:
            found.keep[number] = protected[number]
        elif number in former[:keep]:
            found.keep[number] = f"{'' if keep == 1 else 'one of '}the {newest}"
        elif number in former:
            found.remove[number] = f"older than the {newest}"
        else:
            age = _age_hours(registry, number)
            if age is None:
                found.keep[number] = "never champion, and of unknown age: remove it by hand"
            elif age < unfinished_hours:
                found.keep[number] = f"never champion, but only {age:.1f} hours old: a run may be working on it"
            else:
                found.remove[number] = f"never became champion, {age:.0f} hours old"
    return found


def collect(registry: Registry, found: Sweep) -> list[int]:
    """Remove what a plan says, and return the versions removed.

    The record that makes a version visible goes first; then pointer and deployments are looked at again, and
    the record is put back if the version is needed after all. `rollback` does it the other way round (pointer
    first, then it looks at the record), so that at least one of the two notices.
    """
    removed = [number for number, why in found.remove.items() if _remove(registry, number, why)]
    _forget(registry)
    return removed


def _remove(registry: Registry, number: int, why: str) -> bool:
    store, name = registry.store, f"versions/{number}/version.json"
    record: dict[str, Any] = {}
    with contextlib.suppress(NotFoundError):
        blob = store.read(name)
        record, _ = load(store, name)
        try:
            store.delete(name, if_generation=blob.generation)
        except NotFoundError:
            pass
        except ConflictError:
            return False
        if number in _protected(registry):
            store.write(name, blob.data, if_generation=0)
            return False
    identity = record.get("decision_id") or _claim(registry, number).get("decision_id", "")
    store.write(f"removed/{number}.json", dump({"version": number, "at": now(), "by": author(), "reason": why}))
    remove_version(store, number)
    if identity:
        with contextlib.suppress(NotFoundError):
            store.delete(memory_name(identity))
    return True


def _forget(registry: Registry) -> None:
    """Remove the memories of runs that are not under way any more: a day old and without a version."""
    numbers = set(registry.numbers())
    for entry in registry.store.list("promotions/", checksums=False):
        memory, generation = load(registry.store, entry.name)
        if memory["version"] not in numbers and _hours_since(memory["at"]) > _FORGET_HOURS:
            with contextlib.suppress(NotFoundError, ConflictError):
                registry.store.delete(entry.name, if_generation=generation)


def _protected(registry: Registry) -> dict[int, str]:
    """Versions that must stay, with the reason."""
    found: dict[int, str] = {}
    for target in registry.targets():
        record = registry.deployment(target)
        if record.version is not None:
            found[record.version] = f"{record.state} on {target}"
        if record.live_version is not None:
            found[record.live_version] = f"live on {target}"
    if champion := registry.champion():
        found[champion.version] = "the champion"
    return found


def _claim(registry: Registry, number: int) -> Mapping[str, Any]:
    with contextlib.suppress(NotFoundError):
        return load(registry.store, f"versions/{number}/claim.json")[0]
    return {}


def _age_hours(registry: Registry, number: int) -> float | None:
    at = _claim(registry, number).get("at")
    if not at:
        return None
    return _hours_since(at)


def _hours_since(at: str) -> float:
    made = datetime.fromisoformat(at.replace("Z", "+00:00"))
    return (datetime.now(UTC) - made).total_seconds() / 3600
