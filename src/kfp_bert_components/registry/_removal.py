"""The removal of a version that nothing needs: by gc, or by a promotion that another run was quicker than.

The claim is marked first, by compare-and-swap with the one that the decision to remove looked at: a promotion that
renewed it since keeps its version. Then the record that makes the version visible goes. Then it is looked again whether
the version is needed, and if it is, the record is put back. Promotion and `rollback` do it the other way round (pointer
first, then they look at claim and record), so that at least one of the two notices. `removed/<n>.json` stays for good,
so that the number is never used again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from operator import itemgetter

from kfp_bert_components.errors import ConflictError, DamagedError, NotFoundError
from kfp_bert_components.registry._claim import Claim, write_claim
from kfp_bert_components.registry._deployments import read_deployments
from kfp_bert_components.registry._files import delete_files, promotion_name, removed_name
from kfp_bert_components.registry._read import read_champion
from kfp_bert_components.registry._records import Champion, Deployment, author, dump, load, now
from kfp_bert_components.storage import Store


def remove(store: Store, number: int, claim: Claim, why: str, needed: Callable[[], bool]) -> bool:
    """Remove a version, or go on with a removal that was killed.

    Args:
        store: The registry's store.
        number: The version.
        claim: The claim on its number, as it was when the removal was decided on.
        why: The reason, for the history.
        needed: Whether it is needed after all; asked when others can see that it goes.

    Returns:
        Whether it is removed; False where it is needed, or its claim was renewed.
    """
    try:
        claim = write_claim(store, number, replace(claim, removing=why))
    except ConflictError:
        return False
    if not _hide(store, number, needed):
        with contextlib.suppress(ConflictError):
            write_claim(store, number, replace(claim, removing=""))
        return False
    store.write(removed_name(number), dump({"version": number, "at": now(), "by": author(), "reason": why}))
    delete_files(store, number)
    _forget(store, number, claim.decision_id)
    return True


def named_numbers(store: Store) -> set[int]:
    """The numbers that the pointer and the deployment records name, or named once. The versions may be lost."""
    return logged_numbers(read_champion(store)) | deployed_numbers(read_deployments(store)[0].values())


def may_be_named(store: Store, number: int) -> bool:
    """Whether `named_numbers` has a number, or would if a deployment record could be read."""
    records, damaged = read_deployments(store)
    return bool(damaged) or number in logged_numbers(read_champion(store)) | deployed_numbers(records.values())


def logged_numbers(champion: Champion | None) -> set[int]:
    """The numbers that the pointer names, or named once."""
    return {event["version"] for event in (champion.log if champion else ())}


def deployed_numbers(records: Iterable[Deployment]) -> set[int]:
    """The numbers that deployment records name, or named once."""
    found: set[int | None] = set()
    for record in [one for known in records for one in (known, *known.elsewhere())]:
        found |= {record.version, record.live_version, *(entry["version"] for entry in record.log)}
    return {number for number in found if number}


def _forget(store: Store, number: int, identity: str) -> None:
    """Delete the note by which a promotion finds its number: last, so that one that is killed goes on removing."""
    with contextlib.suppress(NotFoundError, ConflictError, DamagedError):
        noted, generation = load(store, promotion_name(identity), itemgetter("version"))
        if noted == number:  # else it has taken another one
            store.delete(promotion_name(identity), if_generation=generation)


def _hide(store: Store, number: int, needed: Callable[[], bool]) -> bool:
    """Delete the record of a version; False where the version is needed, and has its record still or again."""
    name = f"versions/{number}/version.json"
    if needed():  # the pointer was moved since it was decided
        return False
    try:
        blob = store.read(name)
        store.delete(name, if_generation=blob.generation)
    except NotFoundError:
        return not needed()
    except ConflictError:
        return False
    if not needed():
        return True
    with contextlib.suppress(ConflictError):
        store.write(name, blob.data, if_generation=0)
    return False
