"""Version numbers: each is used by one promotion, which finds it again if it was killed."""

from __future__ import annotations

import contextlib

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.registry._files import promotion_name, remove_version
from kfp_bert_components.registry._read import read_champion, version_numbers
from kfp_bert_components.registry._records import author, dump, load, now
from kfp_bert_components.storage import Store


def claim_number(store: Store, identity: str) -> int:
    """A version number that no other run uses; the same one again for the same decision.

    The number is written down before it is claimed, so that a run killed in between finds it again.
    """
    note = promotion_name(identity)
    while True:
        number, generation = _wanted(store, identity)
        if number == 0:
            number = _unused(store)
            try:
                store.write(note, _note(identity, number), if_generation=0)
            except ConflictError:  # a lost reply, or another attempt at the same promotion
                continue
        try:
            claim = dump({"decision_id": identity, "at": now(), "by": author()})
            store.write(f"versions/{number}/claim.json", claim, if_generation=0)
            return number
        except ConflictError:
            if _owner(store, number) == identity:
                return number
        with contextlib.suppress(ConflictError):
            number = max(number + 1, _unused(store))
            store.write(note, _note(identity, number), if_generation=generation or None)


def _wanted(store: Store, identity: str) -> tuple[int, int]:
    """The number that this decision wants, and the generation of the note that says so; 0 and 0 if there is none."""
    try:
        return load(store, promotion_name(identity), lambda fields: int(fields["version"]))
    except NotFoundError:
        return 0, 0


def _note(identity: str, number: int) -> bytes:
    return dump({"decision_id": identity, "version": number, "at": now()})


def _unused(store: Store) -> int:
    champion = read_champion(store)
    once = [int(event["version"]) for event in (champion.log if champion else ())]
    return max([*version_numbers(store), *once], default=0) + 1


def _owner(store: Store, number: int) -> str:
    """The decision that has claimed a number, "" if none has."""
    try:
        return load(store, f"versions/{number}/claim.json", lambda fields: str(fields["decision_id"]))[0]
    except NotFoundError:
        return ""


def give_up(store: Store, identity: str) -> None:
    """Take away what a run that lost the race has stored; what fails here is left to gc."""
    with contextlib.suppress(UserError):
        number, _ = _wanted(store, identity)
        if number and _owner(store, number) == identity:
            remove_version(store, number)
        if number:
            store.delete(promotion_name(identity))
