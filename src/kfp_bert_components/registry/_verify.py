"""Verification: every file of every version against the hash that it was stored with."""

from __future__ import annotations

import tempfile
from pathlib import Path

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.progress import track
from kfp_bert_components.registry._deployments import read_deployment
from kfp_bert_components.registry._files import sha256
from kfp_bert_components.registry._read import read_champion, read_version, targets, version_numbers
from kfp_bert_components.registry._records import Version
from kfp_bert_components.storage import Store

_OWN_FILES = {"version.json", "claim.json"}


def verify(store: Store, version: int | None = None) -> list[str]:
    """What is wrong with a registry, one sentence each; empty if nothing is.

    Args:
        store: The registry's store.
        version: Check only this version; by default all, and what points to them.
    """
    problems = [] if version is not None else _pointers(store)
    records = [read_version(store, version)] if version is not None else _readable(store, problems)
    with track(sum(len(one.files) for one in records), "verifying", "files") as bar:
        for record in records:
            problems += _files(store, record, bar.update)
    return problems


def _pointers(store: Store) -> list[str]:
    problems = []
    try:
        champion = read_champion(store)
    except UserError as error:
        return [str(error)]
    if champion and not store.exists(f"versions/{champion.version}/version.json"):
        problems.append(f"The champion is version {champion.version}, which is not there: roll back to another one.")
    for target in targets(store):
        try:
            live = read_deployment(store, target).live_version
        except UserError as error:
            problems.append(str(error))
            continue
        if live is not None and not store.exists(f"versions/{live}/version.json"):
            problems.append(f"Version {live} is live on {target}, but the registry does not hold it.")
    return problems


def _readable(store: Store, problems: list[str]) -> list[Version]:
    found = []
    for number in version_numbers(store):
        try:
            found.append(read_version(store, number))
        except NotFoundError:  # never became complete: gc's business
            continue
        except UserError as error:
            problems.append(str(error))
    return found


def _files(store: Store, record: Version, advance: object) -> list[str]:
    start, problems = f"versions/{record.version}/", []
    there = {entry.name[len(start) :] for entry in store.list(start, checksums=False)}
    for name in sorted(there - set(record.files) - _OWN_FILES):
        problems.append(f"{store.describe(start + name)} does not belong to version {record.version}.")
    with tempfile.TemporaryDirectory() as scratch:
        for name, expected in record.files.items():
            where, copy = store.describe(start + name), Path(scratch, "file")
            try:
                store.download(start + name, copy)
                if (copy.stat().st_size, sha256(copy)) != (expected["size"], expected["sha256"]):
                    problems.append(f"{where} was changed since it was stored: its SHA-256 differs.")
            except NotFoundError:
                problems.append(f"{where} is missing.")
            except UserError as error:
                problems.append(str(error))
            advance(1)  # type: ignore[operator]
    return problems
