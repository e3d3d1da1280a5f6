"""The id of a registry: by it, places that serve know which registry they belong to, wherever it is moved."""

from __future__ import annotations

import uuid

from kfp_bert_components.errors import ConflictError, NotFoundError
from kfp_bert_components.registry._records import dump, load, now
from kfp_bert_components.storage import Store

NAME = "registry.json"


def registry_id(store: Store, *, create: bool = True) -> str:
    """Sixteen hexadecimal digits that never change.

    They are written by the first call, on the condition that there are none yet.

    Args:
        store: The registry's store.
        create: Whether to write them. If not, the answer is "" while there are none.
    """
    try:
        return load(store, NAME, lambda fields: str(fields["id"]))[0]
    except NotFoundError:
        if not create:
            return ""
    identity = uuid.uuid4().hex[:16]
    try:
        store.write(NAME, dump({"id": identity, "at": now()}), if_generation=0)
    except ConflictError:  # another run was first, or the reply to our own write was lost
        return registry_id(store, create=False)
    return identity
