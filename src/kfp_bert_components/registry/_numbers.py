"""Version numbers: each is used by one promotion, which finds it again if it was killed.

The claim says who owns a number. Whoever wants to remove the version marks its claim first, by compare-and-swap: a
promotion that renewed its claim in between keeps it, and one whose claim is marked takes another number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kfp_bert_components.errors import ConflictError, DamagedError, NotFoundError, UserError
from kfp_bert_components.origin import Origin
from kfp_bert_components.records import check_types, require
from kfp_bert_components.registry._claim import Claim, claim_name, read_claim, write_claim
from kfp_bert_components.registry._files import promotion_name, removed_name
from kfp_bert_components.registry._read import removed_numbers, version_numbers
from kfp_bert_components.registry._records import author, dump, hours_since, load, now
from kfp_bert_components.registry._removal import may_be_named, named_numbers, remove
from kfp_bert_components.storage import Generation, Store

_TRIES = 20
_REMEDY = "restore it from a backup, or delete it: only a promotion under way needs it"


def claim_number(store: Store, identity: str, origin: Origin) -> tuple[int, Claim]:
    """A version number that no other run uses; the same one again for the same decision, its claim renewed.

    The number is written down before it is claimed, so that a run killed in between finds it again.
    """
    note = promotion_name(identity)
    while True:
        number, generation = _wanted(store, identity)
        if number == 0:
            number = _unused(store)
            try:
                generation = store.write(note, _note(identity, number), if_generation=0)
            except ConflictError:  # a lost reply, or another attempt at the same promotion
                continue
        if claim := _take(store, number, identity, origin):
            return number, claim
        with contextlib.suppress(ConflictError):
            number = max(number + 1, _unused(store))
            store.write(note, _note(identity, number), if_generation=generation)


def holds(store: Store, number: int, identity: str) -> bool:
    """Whether the number still belongs to this decision."""
    claim = read_claim(store, number)
    return claim is not None and claim.decision_id == identity and not claim.removing


def settle(store: Store, number: int, identity: str) -> bool:
    """Note that a version is champion. False if it was removed before it became champion.

    To be called when the pointer names the version: whoever marks its claim after that sees the pointer.
    """
    for _ in range(_TRIES):
        claim = read_claim(store, number)
        if claim and (claim.removing or claim.decision_id != identity):
            return False
        if not store.exists(f"versions/{number}/version.json"):
            return False
        if claim is None:  # somebody deleted it, unless the version was removed
            return not store.exists(removed_name(number))
        if claim.promoted:
            return True
        with contextlib.suppress(ConflictError):
            write_claim(store, number, replace(claim, promoted=now()))
            return True
    raise ConflictError(f"{store.describe(claim_name(number))} changes all the time: run the step again.")


def promoted_number(store: Store, identity: str) -> int | None:
    """The version that this decision made champion before, as its claim, the pointer or a deployment record tells.

    For a pointer that does not say so, as champion.json may be an older one that was put back; or it names the version
    since somebody has moved it by hand.
    """
    with contextlib.suppress(DamagedError):
        if mine := _claimed(store, identity):
            number, claim = mine
            return number if claim.promoted or number in named_numbers(store) else None
    return None


def give_up(store: Store, identity: str) -> None:
    """Remove what a promotion has stored, as another one was first; what fails here is left to gc."""
    with contextlib.suppress(UserError):
        if mine := _claimed(store, identity):
            number, claim = mine
            why = "it never became champion, as another run was first"
            remove(store, number, claim, why, lambda: may_be_named(store, number))
        else:
            store.delete(promotion_name(identity))


def read_note(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """A promotion note of format 1."""
    known = {"decision_id": str, "version": int, "at": str}
    require(fields, known)
    check_types(fields, known)
    hours_since(fields["at"])  # which gc asks for
    return fields


def _take(store: Store, number: int, identity: str, origin: Origin) -> Claim | None:
    """Claim a number, or renew the claim of this decision; None if another decision or gc has it."""
    for _ in range(_TRIES):
        try:
            claim = read_claim(store, number)
        except DamagedError:
            return None
        if claim is None:
            if store.exists(removed_name(number)):  # gc writes it before it deletes the claim
                return None
            claim = Claim(identity, now(), author(), origin=origin.known())
        elif claim.decision_id != identity or claim.removing:
            return None
        else:
            claim = replace(claim, renewed=now())
        with contextlib.suppress(ConflictError):  # a lost reply, or another attempt at the same promotion
            return write_claim(store, number, claim)
    raise ConflictError(f"{store.describe(claim_name(number))} changes all the time: run the step again.")


def _wanted(store: Store, identity: str) -> tuple[int, Generation]:
    """The number that this decision wants, and the generation of the note that says so; 0 and 0 if there is none."""
    try:
        note, generation = load(store, promotion_name(identity), read_note, remedy=_REMEDY)
    except NotFoundError:
        return 0, 0
    return note["version"], generation


def _claimed(store: Store, identity: str) -> tuple[int, Claim] | None:
    """The number that this decision has claimed, and the claim; None if there is none."""
    number, _ = _wanted(store, identity)
    claim = read_claim(store, number) if number else None
    return (number, claim) if claim and claim.decision_id == identity else None


def _note(identity: str, number: int) -> bytes:
    return dump({"decision_id": identity, "version": number, "at": now()})


def _unused(store: Store) -> int:
    """A number above all that were ever used."""
    return max([*version_numbers(store), *removed_numbers(store), *named_numbers(store)], default=0) + 1
