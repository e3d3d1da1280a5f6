"""The checkpoints of runs that train for a registry: in a folder beside it, removed when they are old."""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import Collection

from kfp_bert_components.errors import NotFoundError
from kfp_bert_components.storage import Entry, Store, parse_address

# The folders of a run's data and settings and of its owner, and the trial and step: what training.checkpoints writes.
_NAME = re.compile(r"([0-9a-f]{16}/[0-9a-f]{16})/\d{4,}-\d{9,}\.safetensors")


def checkpoints_beside(registry: str) -> str:
    """The folder for the checkpoints of training: `NAME-checkpoints` beside the registry NAME.

    Args:
        registry: Local or gs:// folder of the registry. Of one that is a whole bucket it is `checkpoints` in it.

    Raises:
        UserError: `registry` is no address.
    """
    address = parse_address(registry, "registry")
    folder, last = address.split()
    return str(folder / f"{last}-checkpoints" if last else address / "checkpoints")


def is_checkpoint(name: str) -> bool:
    """Whether an object in that folder is a checkpoint of ours, by its name."""
    return _NAME.fullmatch(name) is not None


def old_checkpoints(store: Store, hours: float, *, dry_run: bool = False) -> dict[str, float]:
    """The folders with checkpoints in which nothing was written for so many hours: the hours since, by name.

    Ages are told by the clock of the store, for which a small object is written and removed. In a folder, which has no
    clock of its own, and with `dry_run` they are told by the clock of this machine.
    """
    newest: dict[str, float] = {}
    for folder, entry in _entries(store):
        newest[folder] = max(newest.get(folder, 0), entry.modified)
    if not newest:
        return {}
    now = time.time() if dry_run else _time_of(store)
    ages = {folder: (now - modified) / 3600 for folder, modified in newest.items()}
    return {folder: age for folder, age in ages.items() if age >= hours}


def remove_checkpoints(store: Store, folders: Collection[str]) -> None:
    """Remove folders that `old_checkpoints` names."""
    for folder, entry in _entries(store):
        if folder in folders:
            with contextlib.suppress(NotFoundError):
                store.delete(entry.name)


def _time_of(store: Store) -> float:
    """The time now, in seconds since 1970, by the clock that dates what is written to a store."""
    name = f"time-{uuid.uuid4().hex}"
    store.write(name, b"")
    try:
        return store.stat(name).modified
    finally:
        store.delete(name)


def _entries(store: Store) -> list[tuple[str, Entry]]:
    """The checkpoints in a store, each with its folder."""
    found = [(_NAME.fullmatch(entry.name), entry) for entry in store.list(checksums=False)]
    return [(match[1], entry) for match, entry in found if match]
