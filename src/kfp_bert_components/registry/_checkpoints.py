"""The checkpoints of runs that train for a registry: in a folder beside it, removed when they are old."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection

from kfp_bert_components.errors import NotFoundError
from kfp_bert_components.storage import Entry, Store, parse_address


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


def old_checkpoints(store: Store, hours: float) -> dict[str, float]:
    """The folders with checkpoints in which nothing was written for so many hours: the hours since, by name."""
    newest: dict[str, float] = {}
    for folder, entry in _entries(store):
        newest[folder] = max(newest.get(folder, 0), entry.modified)
    ages = {folder: (time.time() - modified) / 3600 for folder, modified in newest.items()}
    return {folder: age for folder, age in ages.items() if age >= hours}


def remove_checkpoints(store: Store, folders: Collection[str]) -> None:
    """Remove folders that `old_checkpoints` names."""
    for folder, entry in _entries(store):
        if folder in folders:
            with contextlib.suppress(NotFoundError):
                store.delete(entry.name)


def _entries(store: Store) -> list[tuple[str, Entry]]:
    """The checkpoints in a store, each with its folder."""
    entries = [entry for entry in store.list(checksums=False) if entry.name.endswith(".safetensors")]
    return [(entry.name.rpartition("/")[0], entry) for entry in entries]
