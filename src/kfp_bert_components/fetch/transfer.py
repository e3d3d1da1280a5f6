"""Bring the objects of a manifest into a folder: whole, checked, and only those that are missing."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.fetch.manifest import Pinned
from kfp_bert_components.progress import track
from kfp_bert_components.storage import Access, Entry, GoneError, Store, file_crc32c, open_store

_THREADS = 4
_SPARE = 64 << 20  # bytes that a disk should have left


def transfer(objects: Sequence[Pinned], target: Path, scratch: Path, access: Access) -> list[Pinned]:
    """Fill `target`/files with exactly these objects, by way of an empty folder on the same file system.

    Returns:
        The same objects; one that was re-uploaded with the same bytes has its new generation.

    Raises:
        UserError: An object can't be had, has other bytes now, or the disk has too little room.
    """
    files = target / "files"
    files.mkdir(parents=True, exist_ok=True)
    found = {one.path: one for one in objects}
    _remove_others(found, files)
    with track(sum(one.size for one in objects), "fetching", "", bytes_=True) as bar:
        missing = _missing(objects, files, bar.update)
        _check_room(target, missing)
        for folder in {(files / one.path).parent for one in missing}:
            folder.mkdir(parents=True, exist_ok=True)
        while missing:
            try:
                for store, wanted in _by_store(missing, files, access):
                    store.download_all(wanted, scratch, bar.update)
                break
            except GoneError as error:
                missing = [one for one in missing if not (files / one.path).exists()]
                for one in (one for one in missing if one.source == error.address):
                    found[one.path] = _again(one, access)
                missing = [found[one.path] for one in missing]
    return list(found.values())


def _remove_others(found: dict[str, Pinned], files: Path) -> None:
    """What an earlier fetch into the same folder left and this one does not want."""
    for path in sorted(files.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.is_symlink() or path.relative_to(files).as_posix() not in found:
            path.unlink()


def _missing(objects: Sequence[Pinned], files: Path, progress: Callable[[int], object]) -> list[Pinned]:
    """The objects that are not there yet with the right bytes; the others count as progress."""
    there = [one for one in objects if (files / one.path).is_file() and (files / one.path).stat().st_size == one.size]
    lock = threading.Lock()

    def whole(one: Pinned) -> str:
        if file_crc32c(files / one.path) != one.crc32c:
            (files / one.path).unlink()
            return ""
        with lock:
            progress(one.size)
        return one.path

    with ThreadPoolExecutor(_THREADS) as pool:
        done = set(pool.map(whole, there))
    for one in objects:
        if one.path not in done:
            (files / one.path).unlink(missing_ok=True)
    return [one for one in objects if one.path not in done]


def _check_room(target: Path, missing: Sequence[Pinned]) -> None:
    needed, free = sum(one.size for one in missing), shutil.disk_usage(target).free
    if needed and needed + _SPARE > free:
        raise UserError(
            f"The disk of {target} has {_size(free)} free and the fetch needs {_size(needed + _SPARE)}: make "
            "room, fetch less, or give the step a larger disk."
        )


def _by_store(
    objects: Sequence[Pinned], files: Path, access: Access
) -> Iterator[tuple[Store, list[tuple[Entry, Path]]]]:
    """The stores that hold the objects, each with its entries and the files that they become."""
    groups: dict[str, list[tuple[Entry, Path]]] = {}
    for one in objects:
        place, name = _locate(one.source)
        groups.setdefault(place, []).append((Entry(name, one.size, one.crc32c, one.generation), files / one.path))
    for place, wanted in groups.items():
        yield open_store(place, access), wanted


def _locate(source: str) -> tuple[str, str]:
    """The store and the name of one object; objects of one bucket share a store."""
    if source.startswith("gs://"):
        bucket, _, name = source.removeprefix("gs://").partition("/")
        return f"gs://{bucket}", name
    return str(Path(source).parent), Path(source).name


def _again(one: Pinned, access: Access) -> Pinned:
    """The object as it is now, if somebody uploaded the same bytes anew."""
    place, name = _locate(one.source)
    try:
        entry = open_store(place, access).stat(name)
    except NotFoundError:
        raise NotFoundError(f"{one.source} was deleted: fetch without it, or restore it.") from None
    if (entry.size, entry.crc32c) != (one.size, one.crc32c):
        raise ConflictError(
            f"{one.source} has other bytes now than its generation {one.generation} had: fetch again without "
            "a manifest, or restore that generation."
        )
    return replace(one, generation=entry.generation)


def _size(count: int) -> str:
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
