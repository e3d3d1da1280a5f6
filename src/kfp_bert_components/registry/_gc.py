"""Garbage collection: remove versions that nothing needs, never the champion nor what is deployed."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import partial

from kfp_bert_components.errors import ConflictError, DamagedError, NotFoundError, UserError
from kfp_bert_components.registry._claim import Claim, read_claim, write_claim
from kfp_bert_components.registry._deployments import read_deployments
from kfp_bert_components.registry._files import removed_name
from kfp_bert_components.registry._numbers import read_note
from kfp_bert_components.registry._pins import forget_pins
from kfp_bert_components.registry._read import read_champion, read_version, version_numbers
from kfp_bert_components.registry._records import Deployment, hours_since, load
from kfp_bert_components.registry._removal import deployed_numbers, may_be_named, remove
from kfp_bert_components.registry._rollback import is_readable, previous_champion
from kfp_bert_components.storage import Store

_FORGET_HOURS = 24.0
_Verdict = tuple[bool, str]  # whether a version stays, and why


@dataclass
class Sweep:
    """What gc keeps and removes, with the reason, by version; and why it can't be told what is deployed.

    `checkpoints` are the folders with checkpoints beside the registry that it removes, with the hours since a run wrote
    into them.

    `unclear` names the deployment records that can't be read, and those that don't know what serves after a failure.
    While there is one, no former champion is removed: it may be deployed there.
    """

    keep: dict[int, str] = field(default_factory=dict)
    remove: dict[int, str] = field(default_factory=dict)
    unclear: list[str] = field(default_factory=list)
    checkpoints: dict[str, float] = field(default_factory=dict)
    # What the decision to remove looked at:
    claims: dict[int, Claim] = field(default_factory=dict, repr=False)
    former: dict[int, _Verdict] = field(default_factory=dict, repr=False)


def plan(store: Store, keep: int = 5, unfinished_hours: float = 24.0) -> Sweep:
    """Say what gc would do.

    Args:
        store: The registry's store.
        keep: How many former champions to keep, the newest ones; at least 1, to roll back to.
        unfinished_hours: Age at which a version that never became champion is given up; not negative.
    """
    if keep < 1:
        raise UserError(f"keep is {keep}: keep at least 1 former champion, to roll back to.")
    if not unfinished_hours >= 0:  # nor NaN
        raise UserError(f"unfinished_hours is {unfinished_hours:g}: give a number of hours, 0 or more.")
    protected, unclear = _protected(store)
    found = Sweep(unclear=unclear, former=_former(store, keep, protected, unclear))
    deployed = deployed_numbers(read_deployments(store)[0].values())
    for number in version_numbers(store):
        try:
            claim = read_claim(store, number)
        except DamagedError as error:
            found.keep[number] = str(error)
            continue
        found.claims[number] = claim or Claim("", "", "")
        visible = store.exists(f"versions/{number}/version.json")
        was_champion = number in found.former or number in deployed or bool(claim and claim.promoted)
        if number in protected:
            stays, why = True, protected[number]
        elif claim and claim.removing and not (visible and was_champion):  # its removal was killed
            stays, why = False, claim.removing
        elif number in found.former:
            stays, why = found.former[number]
        elif was_champion:
            stays, why = True, "it was promoted, and champion.json does not know of it: run verify"
        elif visible and unclear:
            stays, why = True, "it may be deployed where that is not known"
        else:
            stays, why = _never_champion(store, number, claim, unfinished_hours)
        (found.keep if stays else found.remove)[number] = why
    return found


def _former(store: Store, keep: int, protected: Collection[int], unclear: Collection[str]) -> dict[int, _Verdict]:
    """What becomes of the former champions, the one of the newest move first; one that is gone uses up no place."""
    champion = read_champion(store)
    if champion is None:
        return {}
    log = [event["version"] for event in reversed(champion.log)]
    numbers = [number for number in dict.fromkeys(log) if number not in protected]
    previous = previous_champion(store, champion)
    newest = kept = _first(store, numbers, keep)
    if previous is not None and previous in set(numbers) - set(newest):
        kept = [previous, *_first(store, numbers, keep - 1)]
    said = "newest former champion" if keep == 1 else f"{keep} newest former champions"
    found: dict[int, _Verdict] = {}
    for number in numbers:
        if number in kept and number in newest:
            found[number] = True, f"{'' if keep == 1 else 'one of '}the {said}"
        elif number in kept:
            found[number] = True, "the version that rollback goes back to"
        elif unclear:
            found[number] = True, "a former champion, which may be deployed where that is not known"
        elif number in newest:
            found[number] = False, f"version {previous}, which rollback goes back to, is kept in its place"
        else:
            found[number] = False, f"older than the {said}"
    return found


def _first(store: Store, numbers: list[int], many: int) -> list[int]:
    """The first ones, so that rollback can go back to so many of them."""
    found: list[int] = []
    for number in numbers:
        if not many:
            break
        found.append(number)
        many -= is_readable(store, number)
    return found


def _never_champion(store: Store, number: int, claim: Claim | None, unfinished_hours: float) -> _Verdict:
    """What becomes of a version that was never champion."""
    if claim is None and store.exists(removed_name(number)):
        return False, "left over from its removal"
    if claim is None:
        return True, "never champion, and of unknown age: remove it by hand"
    age = hours_since(claim.renewed or claim.at)
    if age < unfinished_hours:
        return True, f"never champion, but only {age:.1f} hours old: a run may be working on it"
    return False, f"never became champion, {age:.0f} hours old"


def collect(store: Store, found: Sweep) -> list[int]:
    """Remove what a plan says, and return the versions removed; see `_removal`."""

    def needed(number: int) -> bool:
        if number not in found.former:
            return may_be_named(store, number)
        champion = read_champion(store)
        previous = previous_champion(store, champion) if champion else None
        protected, unclear = _protected(store)
        return number == previous or number in protected or bool(unclear)

    removed = [
        number
        for number, why in found.remove.items()
        if remove(store, number, found.claims[number], why, partial(needed, number))
    ]
    _unmark(store, found)
    _forget(store)
    forget_pins(store, [pin for number in version_numbers(store) if (pin := _pin(store, number))])
    return removed


def _unmark(store: Store, found: Sweep) -> None:
    """Take back the marks of a gc that was killed, on versions that were champion and stay."""
    for number in found.keep:
        claim = found.claims.get(number)
        if claim and claim.removing and claim.promoted and store.exists(f"versions/{number}/version.json"):
            with contextlib.suppress(ConflictError):
                write_claim(store, number, replace(claim, removing=""))


def _forget(store: Store) -> None:
    """Remove the notes of promotions that are not under way any more: a day old and without a version."""
    numbers = set(version_numbers(store))
    for entry in store.list("promotions/", checksums=False):
        with contextlib.suppress(NotFoundError, ConflictError, DamagedError):  # verify names what is damaged
            note, generation = load(store, entry.name, read_note)
            if note["version"] not in numbers and hours_since(note["at"]) > _FORGET_HOURS:
                store.delete(entry.name, if_generation=generation)


def _pin(store: Store, number: int) -> str:
    """The fingerprint of the data that a version was trained on, "" where it is not known."""
    with contextlib.suppress(NotFoundError, DamagedError):
        return read_version(store, number).pin.partition("-")[0]
    return ""


def _protected(store: Store) -> tuple[dict[int, str], list[str]]:
    """Versions that must stay, with the reason; and the deployment records that don't say what is deployed."""
    records, unclear = read_deployments(store)
    found: dict[int, str] = {}
    for target, record in records.items():
        for one in record.elsewhere():
            found |= _needed(one, f"{target}, {one.place_in_words()}")
    for target, record in records.items():
        found |= _needed(record, target)
        if not record.live_is_known:
            unclear.append(
                f"{target}: since a rollout failed it is not known what serves at {record.place_in_words()}; "
                "the next deployment there looks again"
            )
    if champion := read_champion(store):
        found[champion.version] = "the champion"
    return found, unclear


def _needed(record: Deployment, where: str) -> dict[int, str]:
    """The versions that a place needs, with the reason."""
    states = {record.version: f"{record.state} on {where}", record.live_version: f"live on {where}"}
    return {number: why for number, why in states.items() if number is not None}
