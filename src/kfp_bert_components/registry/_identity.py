"""The id of a registry: by it, places that serve know which registry they belong to, wherever it is moved."""

from __future__ import annotations

import uuid
from typing import Any

from kfp_bert_components.errors import ConflictError, DamagedError, NotFoundError, UserError
from kfp_bert_components.registry._deployments import read_deployments
from kfp_bert_components.registry._records import dump, load, now, repair_command
from kfp_bert_components.storage import Generation, Store

NAME = "registry.json"


def registry_id(store: Store, *, create: bool = True) -> str:
    """Sixteen hexadecimal digits that never change.

    They are written by the first call, on the condition that there are none yet.

    Args:
        store: The registry's store.
        create: Whether to write them. If not, the answer is "" while there are none.

    Raises:
        DamagedError: registry.json can't be read, or is gone while deployment records name the id.
    """
    try:
        return load(store, NAME, _id)[0]
    except NotFoundError:
        if _recorded(store):
            raise DamagedError(
                f"{store.describe(NAME)} is lost: deployment records beside it name the registry's id. Restore it "
                f"from a backup, or run `{repair_command(store)}`."
            ) from None
        if not create:
            return ""
    return _write(store, uuid.uuid4().hex[:16], 0)


def repair_id(store: Store) -> str:
    """See `Registry.repair_id`."""
    try:
        registry_id(store, create=False)
    except DamagedError as error:
        problem = str(error)
    else:
        return ""
    known = _recorded(store)
    if len(known) > 1:
        named = "; ".join(f"{one} ({', '.join(targets)})" for one, targets in sorted(known.items()))
        raise UserError(
            f"{problem} Which id it held is not known, as the records in {store.describe('deployments')} name several: "
            f"{named}. Without a backup delete the records that are not this registry's, such as copies from another "
            "one, and run the command again: it writes the id that is left."
        )
    if not known:
        raise UserError(
            f"{problem} Which id it held is not known: no deployment record names it. Without a backup delete the "
            "file: the next promotion makes another id. Then each place that serves has to be deployed to once with "
            "take_over=true."
        )
    return _write(store, next(iter(known)), store.stat(NAME).generation if store.exists(NAME) else 0)


def _recorded(store: Store) -> dict[str, list[str]]:
    """The ids that the deployment records name, with the names of the records."""
    found: dict[str, list[str]] = {}
    for target, one in read_deployments(store)[0].items():
        if one.registry:
            found.setdefault(one.registry, []).append(f"{target}.json")
    return found


def _write(store: Store, identity: str, generation: Generation) -> str:
    try:
        store.write(NAME, dump({"id": identity, "at": now()}), if_generation=generation)
    except ConflictError:  # another run was first, or the reply to our own write was lost
        return load(store, NAME, _id)[0]
    return identity


def _id(fields: dict[str, Any]) -> str:
    identity = fields["id"]
    if not isinstance(identity, str) or not identity:
        raise ValueError(f"its id is {identity!r}")
    return identity
