"""The files of a version: named, hashed, put into the store once, taken out checked."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.registry._records import Version, repair_command
from kfp_bert_components.storage import Store, file_crc32c, file_sha256, relative_files

_THREADS = 8
_ROUNDS = 5


def describe_files(parts: Mapping[str, Path]) -> tuple[dict[str, Path], dict[str, dict[str, Any]]]:
    """The local path, and size, crc32c and sha256, of every file of a version by its name in it."""
    paths = {f"{part}/{name}": folder / name for part, folder in parts.items() for name in relative_files(folder)}
    hashes = {
        name: {"size": path.stat().st_size, "crc32c": file_crc32c(path), "sha256": file_sha256(path)}
        for name, path in paths.items()
    }
    return paths, hashes


def put_files(store: Store, version: int, paths: Mapping[str, Path], hashes: Mapping[str, Mapping[str, Any]]) -> None:
    """Upload the files that are not there yet; none is ever overwritten."""
    start = f"versions/{version}/"
    there = {entry.name[len(start) :]: entry.crc32c for entry in store.list(start)}

    def one(name: str) -> None:
        if there.get(name) == hashes[name]["crc32c"]:
            return
        try:
            store.upload(paths[name], start + name, if_generation=0)
        except ConflictError:
            # Our own upload whose reply was lost, or another attempt at this promotion: then the bytes are the same.
            # Or gc just removed it, and the claim says so.
            if _crc32c(store, start + name) not in (hashes[name]["crc32c"], None):
                raise ConflictError(
                    f"{store.describe(start + name)} exists with other bytes: two runs use the same decision "
                    "for different models. Run the comparison again."
                ) from None

    _in_parallel(one, paths)


def _crc32c(store: Store, name: str) -> str | None:
    try:
        return store.stat(name).crc32c
    except NotFoundError:
        return None


def delete_files(store: Store, version: int) -> None:
    """Delete all of a version: first the record that makes it visible, last the claim on its number.

    It looks again when the claim is gone, as who lost it may have stored a file meanwhile. Whoever stores one later
    finds no claim, and removes it. A file that is written anew between listing and deletion is not deleted.
    """
    start = f"versions/{version}/"
    order = {f"{start}version.json": 0, f"{start}claim.json": 2}
    for _ in range(_ROUNDS):
        entries = store.list(start, checksums=False)
        for entry in sorted(entries, key=lambda entry: order.get(entry.name, 1)):
            with contextlib.suppress(NotFoundError, ConflictError):
                store.delete(entry.name, if_generation=entry.generation)
        if not entries:
            break


def promotion_name(identity: str) -> str:
    """The note that says which version number the promotion by this decision wants."""
    return f"promotions/{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json"


def removed_name(version: int) -> str:
    """The record of a version that was removed."""
    return f"removed/{version}.json"


def fetch_part(store: Store, version: Version, part: str, folder: Path) -> None:
    """Copy one part of a version ("bundle", "evaluation", "decision") to a folder, every file checked."""
    start = f"versions/{version.version}/"
    names = [name for name in version.files if name.startswith(f"{part}/")]

    def one(name: str) -> None:
        place = folder / name[len(part) + 1 :]
        place.parent.mkdir(parents=True, exist_ok=True)
        # The folder may be a mounted bucket: checked in scratch space, then written once from start to end.
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch, "file")
            store.download(start + name, copy)
            if file_sha256(copy) != version.files[name]["sha256"]:
                raise UserError(
                    f"{store.describe(start + name)} was changed since it was stored: its SHA-256 differs. "
                    f"Restore it from a backup, or, if it is the champion's, run `{repair_command(store)}`."
                )
            with copy.open("rb") as source, place.open("wb") as target:
                while block := source.read(1 << 20):
                    target.write(block)
                target.flush()
                os.fsync(target.fileno())

    _in_parallel(one, names)


def _in_parallel(function: Callable[[str], None], names: Iterable[str]) -> None:
    """Call a function for each name; after the first error none is begun."""
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for done in [pool.submit(function, name) for name in names]:
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
