"""Verification: every file of every version against the hash that it was stored with."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.progress import track
from kfp_bert_components.registry._files import sha256
from kfp_bert_components.registry._records import Version

if TYPE_CHECKING:
    from kfp_bert_components.registry._registry import Registry

_OWN_FILES = {"version.json", "claim.json"}


def verify(registry: Registry, version: int | None = None) -> list[str]:
    """What is wrong with a registry, one sentence each; empty if nothing is.

    Args:
        registry: The registry.
        version: Check only this version; by default all, and what points to them.
    """
    problems = [] if version is not None else _pointers(registry)
    records = [registry.version(version)] if version is not None else _readable(registry, problems)
    with track(sum(len(one.files) for one in records), "verifying", "files") as bar:
        for record in records:
            problems += _files(registry, record, bar.update)
    return problems


def _pointers(registry: Registry) -> list[str]:
    problems = []
    try:
        champion = registry.champion()
    except UserError as error:
        return [str(error)]
    if champion and not registry.store.exists(f"versions/{champion.version}/version.json"):
        problems.append(f"The champion is version {champion.version}, which is not there: roll back to another one.")
    for target in registry.targets():
        try:
            live = registry.deployment(target).live_version
        except UserError as error:
            problems.append(str(error))
            continue
        if live is not None and not registry.store.exists(f"versions/{live}/version.json"):
            problems.append(f"Version {live} is live on {target}, but the registry does not hold it.")
    return problems


def _readable(registry: Registry, problems: list[str]) -> list[Version]:
    found = []
    for number in registry.numbers():
        try:
            found.append(registry.version(number))
        except NotFoundError:  # never became complete: gc's business
            continue
        except UserError as error:
            problems.append(str(error))
    return found


def _files(registry: Registry, record: Version, advance: object) -> list[str]:
    start, problems = f"versions/{record.version}/", []
    there = {entry.name[len(start) :] for entry in registry.store.list(start, checksums=False)}
    for name in sorted(there - set(record.files) - _OWN_FILES):
        problems.append(f"{registry.store.describe(start + name)} does not belong to version {record.version}.")
    with tempfile.TemporaryDirectory() as scratch:
        for name, expected in record.files.items():
            where, copy = registry.store.describe(start + name), Path(scratch, "file")
            try:
                registry.store.download(start + name, copy)
                if (copy.stat().st_size, sha256(copy)) != (expected["size"], expected["sha256"]):
                    problems.append(f"{where} was changed since it was stored: its SHA-256 differs.")
            except NotFoundError:
                problems.append(f"{where} is missing.")
            except UserError as error:
                problems.append(str(error))
            advance(1)  # type: ignore[operator]
    return problems
