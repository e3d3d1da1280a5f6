"""Garbage collection: remove versions that nothing needs, never the champion nor what is deployed."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace

from kfp_bert_components.errors import ConflictError, DamagedError, NotFoundError, UserError
from kfp_bert_components.registry._claim import Claim, read_claim, write_claim
from kfp_bert_components.registry._deployments import read_deployments
from kfp_bert_components.registry._files import promotion_name, remove_version, removed_name
from kfp_bert_components.registry._numbers import read_note
from kfp_bert_components.registry._pins import forget_pins
from kfp_bert_components.registry._read import read_champion, read_version, version_numbers
from kfp_bert_components.registry._records import Champion, Deployment, author, dump, hours_since, load, now
from kfp_bert_components.registry._rollback import previous_champion
from kfp_bert_components.storage import Store

_FORGET_HOURS = 24.0


@dataclass
class Sweep:
    """What gc keeps and removes, with the reason, by version; and which deployment records can't be read.

    `checkpoints` are the folders with checkpoints beside the registry that it removes, with the hours since a run wrote
    into them.

    While there is such a record no former champion is removed: it may be deployed there.
    """

    keep: dict[int, str] = field(default_factory=dict)
    remove: dict[int, str] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    checkpoints: dict[str, float] = field(default_factory=dict)
    claims: dict[int, Claim] = field(default_factory=dict, repr=False)  # what the decision to remove looked at


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
    protected, damaged = _protected(store)
    found = Sweep(damaged=damaged)
    champion = read_champion(store)
    previous = previous_champion(store, champion) if champion else None
    newest = "newest former champion" if keep == 1 else f"{keep} newest former champions"
    former = [number for number in _former(champion) if number not in protected]
    kept = sorted(former, key=lambda number: number != previous)[:keep]  # what rollback goes back to before others
    for number in version_numbers(store):
        try:
            claim = read_claim(store, number)
        except DamagedError as error:
            found.keep[number] = str(error)
            continue
        found.claims[number] = claim or Claim("", "", "")
        if number in protected:
            found.keep[number] = protected[number]
        elif claim and claim.removing:
            found.remove[number] = claim.removing  # by a gc that was killed
        elif number in kept and number not in former[:keep]:
            found.keep[number] = "the version that rollback goes back to"
        elif number in kept:
            found.keep[number] = f"{'' if keep == 1 else 'one of '}the {newest}"
        elif number in former and damaged:
            found.keep[number] = "a former champion, which may be deployed where a record can't be read"
        elif number in former[:keep]:
            found.remove[number] = f"version {previous}, which rollback goes back to, is kept in its place"
        elif number in former:
            found.remove[number] = f"older than the {newest}"
        elif claim and claim.promoted:
            found.keep[number] = "it was promoted, and champion.json does not know of it: run verify"
        elif claim is None and store.exists(removed_name(number)):
            found.remove[number] = "left over from its removal"
        elif claim is None:
            found.keep[number] = "never champion, and of unknown age: remove it by hand"
        elif (age := hours_since(claim.renewed or claim.at)) < unfinished_hours:
            found.keep[number] = f"never champion, but only {age:.1f} hours old: a run may be working on it"
        else:
            found.remove[number] = f"never became champion, {age:.0f} hours old"
    return found


def _former(champion: Champion | None) -> list[int]:
    """Every version that the pointer named, the one of the newest move first."""
    return list(dict.fromkeys(event["version"] for event in reversed(champion.log if champion else ())))


def collect(store: Store, found: Sweep) -> list[int]:
    """Remove what a plan says, and return the versions removed.

    The claim is marked first, by compare-and-swap with the one that the plan looked at: a promotion that renewed it
    since keeps its version. Then the record that makes a version visible goes; then pointer and deployments are
    looked at again, and the record is put back if the version is needed after all. Promotion and `rollback` do it
    the other way round (pointer first, then they look at claim and record), so that at least one of the two notices.
    """
    removed = [number for number, why in found.remove.items() if _remove(store, number, found.claims[number], why)]
    _forget(store)
    forget_pins(store, [pin for number in version_numbers(store) if (pin := _pin(store, number))])
    return removed


def _remove(store: Store, number: int, claim: Claim, why: str) -> bool:
    try:
        claim = write_claim(store, number, replace(claim, removing=why))
    except ConflictError:
        return False
    if not _hide(store, number):
        with contextlib.suppress(ConflictError):
            write_claim(store, number, replace(claim, removing=""))
        return False
    store.write(removed_name(number), dump({"version": number, "at": now(), "by": author(), "reason": why}))
    if claim.decision_id:
        with contextlib.suppress(NotFoundError):
            store.delete(promotion_name(claim.decision_id))
    remove_version(store, number)
    return True


def _hide(store: Store, number: int) -> bool:
    """Delete the record of a version; False where the version is needed after all, and has its record again."""
    name = f"versions/{number}/version.json"
    champion = read_champion(store)
    if champion and previous_champion(store, champion) == number:  # the pointer was moved since the plan
        return False
    try:
        blob = store.read(name)
        store.delete(name, if_generation=blob.generation)
    except NotFoundError:
        return number not in _protected(store)[0]
    except ConflictError:
        return False
    if number not in _protected(store)[0]:
        return True
    with contextlib.suppress(ConflictError):
        store.write(name, blob.data, if_generation=0)
    return False


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
    """Versions that must stay, with the reason; and which deployment records can't be read."""
    records, damaged = read_deployments(store)
    found: dict[int, str] = {}
    for target, record in records.items():
        for one in record.elsewhere():
            found |= _needed(one, f"{target}, {' '.join(one.place.values()) or 'another place'}")
    for target, record in records.items():
        found |= _needed(record, target)
    if champion := read_champion(store):
        found[champion.version] = "the champion"
    return found, damaged


def _needed(record: Deployment, where: str) -> dict[int, str]:
    """The versions that a place needs, with the reason."""
    states = {record.version: f"{record.state} on {where}", record.live_version: f"live on {where}"}
    return {number: why for number, why in states.items() if number is not None}
