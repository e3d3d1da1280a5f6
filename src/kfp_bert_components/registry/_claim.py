"""Version numbers: each is used by one promotion, which finds it again if it was killed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.registry._files import memory_name, remove_version
from kfp_bert_components.registry._records import author, dump, load, now
from kfp_bert_components.storage import Store

if TYPE_CHECKING:
    from kfp_bert_components.registry._registry import Registry


def claim_number(registry: Registry, identity: str) -> int:
    """A version number that no other run uses; the same one again for the same decision.

    The number is written down before it is claimed, so that a run killed in between finds it again.
    """
    store, memory = registry.store, memory_name(identity)
    while True:
        number, generation = _remembered(store, identity)
        if number == 0:
            number = _unused(registry)
            try:
                store.write(memory, _intention(identity, number), if_generation=0)
            except ConflictError:  # a lost reply, or a twin of this run
                continue
        try:
            claim = dump({"decision_id": identity, "at": now(), "by": author()})
            store.write(f"versions/{number}/claim.json", claim, if_generation=0)
            return number
        except ConflictError:
            if _owner(store, number) == identity:
                return number
        with contextlib.suppress(ConflictError):
            number = max(number + 1, _unused(registry))
            store.write(memory, _intention(identity, number), if_generation=generation or None)


def _remembered(store: Store, identity: str) -> tuple[int, int]:
    """The number that this decision wants, 0 if none yet, and the generation of that memory."""
    try:
        value, generation = load(store, memory_name(identity))
    except NotFoundError:
        return 0, 0
    return int(value["version"]), generation


def _intention(identity: str, number: int) -> bytes:
    return dump({"decision_id": identity, "version": number, "at": now()})


def _unused(registry: Registry) -> int:
    champion = registry.champion()
    once = [int(event["version"]) for event in (champion.log if champion else ())]
    return max([*registry.numbers(), *once], default=0) + 1


def _owner(store: Store, number: int) -> str:
    """The decision that has claimed a number, "" if none has."""
    try:
        return str(load(store, f"versions/{number}/claim.json")[0]["decision_id"])
    except NotFoundError:
        return ""


def give_up(store: Store, identity: str) -> None:
    """Take away what a run that lost the race has stored; what fails here is left to gc."""
    with contextlib.suppress(UserError):
        number, _ = _remembered(store, identity)
        if number and _owner(store, number) == identity:
            remove_version(store, number)
        if number:
            store.delete(memory_name(identity))
