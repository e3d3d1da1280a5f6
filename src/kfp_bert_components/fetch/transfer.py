"""Bring the objects of a manifest into a folder: whole, checked, and only those that are missing."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.fetch.manifest import Manifest, Pinned
from kfp_bert_components.progress_bar import track
from kfp_bert_components.storage import (
    Access,
    Address,
    Entry,
    GoneError,
    file_crc32c,
    is_copy,
    open_store,
    split_object,
)

_SPARE = 64 << 20  # bytes that a disk should have left
_TRIES = 4  # of an object that is listed, but not found


def transfer(wanted: Manifest, target: Path, scratch: Path, access: Access) -> list[Pinned]:
    """Fill `target`/files with exactly these objects, by way of an empty folder on the same file system.

    Returns:
        The same objects, all with checksums; one that was re-uploaded with the same bytes has its new generation.

    Raises:
        UserError: An object can't be had, has other bytes now, or the disk has too little room.
    """
    files = target / "files"
    files.mkdir(parents=True, exist_ok=True)
    found = {one.path: one for one in wanted.objects}
    with track(sum(one.size for one in wanted.objects), "fetching", "", bytes_=True, part=(0, 1)) as bar:
        missing = _missing(found, files, bar.update)
        _check_room(target, missing)
        for folder in {(files / one.path).parent for one in missing}:
            folder.mkdir(parents=True, exist_ok=True)
        gone: Counter[str] = Counter()
        while missing:
            try:
                for place, entries in _by_store(missing, files).items():
                    open_store(place, access).download_all(entries, scratch, bar.update)
                break
            except ConflictError as error:
                raise ConflictError(f"{error} {wanted.remedy}") from None
            except GoneError as error:
                gone[error.address] += 1
                if gone[error.address] == _TRIES:
                    raise UserError(
                        f"{error.address} is listed, but was not found {_TRIES} times: try again later."
                    ) from None
                missing = [one for one in missing if not (files / one.path).exists()]
                missing = [_again(one, access, wanted) if one.source == error.address else one for one in missing]
                found |= {one.path: one for one in missing}
    return [one if one.crc32c else replace(one, crc32c=file_crc32c(files / one.path)) for one in found.values()]


def _missing(found: dict[str, Pinned], files: Path, progress: Callable[[int], object]) -> list[Pinned]:
    """Remove what an earlier fetch left and this one does not want; the objects that are not there yet.

    Those that are there with the right bytes count as progress.
    """
    done = set()
    for path in sorted(files.rglob("*"), reverse=True):  # what is in a folder before the folder
        one = found.get(path.relative_to(files).as_posix())
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif one and not path.is_symlink() and is_copy(path, _entry(one, one.path)):
            done.add(one.path)
            progress(one.size)
        else:
            path.unlink()
    return [one for one in found.values() if one.path not in done]


def _check_room(target: Path, missing: Sequence[Pinned]) -> None:
    needed, free = sum(one.size for one in missing), shutil.disk_usage(target).free
    if needed and needed + _SPARE > free:
        raise UserError(
            f"The disk of {target} has {free / 1e6:,.1f} MB free and the fetch needs "
            f"{(needed + _SPARE) / 1e6:,.1f} MB: make room, fetch less, or give the step a larger disk."
        )


def _by_store(objects: Sequence[Pinned], files: Path) -> dict[Address, list[tuple[Entry, Path]]]:
    """The stores that hold the objects, each with its entries and the files that they become."""
    groups: dict[Address, list[tuple[Entry, Path]]] = {}
    for one in objects:
        place, name = split_object(one.source)
        groups.setdefault(place, []).append((_entry(one, name), files / one.path))
    return groups


def _entry(one: Pinned, name: str) -> Entry:
    return Entry(name, one.size, one.crc32c, one.generation)


def _again(one: Pinned, access: Access, wanted: Manifest) -> Pinned:
    """The object as it is now, if somebody uploaded the same bytes anew."""
    place, name = split_object(one.source)
    try:
        entry = open_store(place, access).stat(name)
    except NotFoundError:
        raise NotFoundError(f"{one.source} was deleted. {wanted.remedy}") from None
    known = one.crc32c or entry.generation == one.generation
    if not known or (entry.size, entry.crc32c) != (one.size, one.crc32c):
        raise ConflictError(
            f"{one.source} has other bytes now than its generation {one.generation} had. {wanted.remedy}"
        )
    return replace(one, generation=entry.generation)
