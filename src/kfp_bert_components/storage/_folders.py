"""Whole folders into a store, out of it, and from scratch space to an artifact's place."""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.storage._checksums import file_sha256
from kfp_bert_components.storage._look import is_folder
from kfp_bert_components.storage._types import Generation, Store
from kfp_bert_components.storage._walk import check_regular, status_of

_THREADS = 8


def upload_folder(
    folder: Path, store: Store, name: str, *, if_generation: Generation | None = None
) -> dict[str, Generation]:
    """Copy every file of a folder into a store as `name`/<relative path>.

    Args:
        folder: An existing folder.
        store: Where to.
        name: The folder's name in the store, without a slash at the end.
        if_generation: As in `Store.write`, for each file.

    Returns:
        The generation of each object, by its relative path.
    """
    files = relative_files(folder)

    def one(relative: str) -> Generation:
        return store.upload(folder / relative, f"{name}/{relative}", if_generation=if_generation)

    return dict(zip(files, _in_parallel(one, files), strict=True))


def download_folder(store: Store, name: str, folder: Path) -> None:
    """Copy every object below `name`/ in a store to a folder; each file appears whole or not at all.

    Raises:
        NotFoundError: There is no object below that name.
    """
    prefix = f"{name}/"
    wanted = [(entry, folder / entry.name[len(prefix) :]) for entry in store.list(prefix)]
    if not wanted:
        raise NotFoundError(f"{store.describe(name)} holds no files.")
    for _, path in wanted:
        path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as scratch:
        store.download_all(wanted, Path(scratch))


def publish_folder(scratch: Path, target: Path, last: Sequence[str] = ()) -> None:
    """Move the files of a finished folder to where others look.

    On one disk they are renamed. The target may be a mounted bucket, where files can't be renamed, appended to or
    written at random: there each is written once and from start to end.

    Args:
        scratch: The finished folder, on a local disk; it is left without its files.
        target: Created if it is missing.
        last: Relative paths of files to move after all others, in this order: those that say "complete". Until then
            none is there, not even an older one.
    """
    files = [file for file in relative_files(scratch) if file not in last] + list(last)
    target.mkdir(parents=True, exist_ok=True)
    for file in reversed(last):
        (target / file).unlink(missing_ok=True)
    for file in files:
        place = target / file
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(scratch / file, place, shutil.copyfile)


def relative_files(folder: Path) -> list[str]:
    """The files below a folder as relative paths with "/", sorted; UserError for what is neither file nor folder."""
    if not is_folder(folder):
        raise NotFoundError(f"{folder} is not a folder: give the folder that the step before wrote.")
    files = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        status = status_of(path, name)
        if not stat.S_ISDIR(status.st_mode):
            check_regular(path, status)
            files.append(name)
        elif path.is_symlink():
            raise UserError(f"{path} is a link to a folder: put the folder itself in its place.")
    return sorted(files)


def file_hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder, by its relative path."""
    return {name: file_sha256(folder / name) for name in relative_files(folder)}


def _in_parallel(function: Callable[[str], object], items: Iterable[str]) -> list:
    with ThreadPoolExecutor(_THREADS) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise
