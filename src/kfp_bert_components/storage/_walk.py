"""Every file of a local folder, by way of the links in it. What can't be read is an error: nothing is left out."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from kfp_bert_components.errors import UserError
from kfp_bert_components.storage._rights import denied

OWN = ".store"  # what a store keeps in its folder for itself
_OWN_FILES = {"lock", "holder", "new"}
_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}


def _any(name: str) -> bool:
    return True


def walk(
    root: Path, wanted: Callable[[str], bool] = _any, entered: Callable[[str], bool] = _any, *, leaves: bool = False
) -> Iterator[tuple[str, Path]]:
    """The files below a folder: the name of each relative to the folder, with "/", and its path.

    Links to files and folders inside the folder are followed. In a mounted ConfigMap or Secret, which Kubernetes makes
    of links to the folder `..data`, each file comes once.

    Args:
        root: The folder; it may itself be a link.
        wanted: Whether a file of this name shall come.
        entered: Whether a wanted file may lie below the folder of this name.
        leaves: Whether links may lead out of the folder.

    Raises:
        UserError: A wanted file, or a folder that may hold one, is a link to nothing, to a place outside `root` (unless
            `leaves`) or back to a folder around it; or is no regular file, can't be read, or has a name that is not
            UTF-8.
    """
    inside = root.resolve()
    waiting: list[tuple[Path, str, tuple[Path, ...]]] = [(root, "", (inside,))]
    while waiting:
        folder, prefix, above = waiting.pop()
        for entry in _entries(folder):
            name, path = prefix + entry.name, Path(entry.path)
            if not (wanted(name) or entered(name)) or _is_of_a_store(name, path):
                continue
            status = status_of(path, name)
            if not (entered(name) if stat.S_ISDIR(status.st_mode) else wanted(name)):
                continue
            real = path.resolve()
            if not leaves and not real.is_relative_to(inside):
                raise UserError(
                    f"{path} is a link to {real}, outside {root}: name that place as a source too, or copy it here."
                )
            if not stat.S_ISDIR(status.st_mode):
                yield name, check_regular(path, status)
            elif real in above:
                raise UserError(f"{path} is a link to {real}, a folder that it lies in itself: remove the link.")
            else:
                waiting.append((path, f"{name}/", (*above, real)))


def _is_of_a_store(name: str, path: Path) -> bool:
    """Whether a folder is what a store of ours keeps for itself, and not one of the same name."""
    return name == OWN and path.is_dir() and _OWN_FILES.issuperset(os.listdir(path))


def check_regular(path: Path, status: os.stat_result) -> Path:
    """Return `path` if it is a regular file; UserError for a pipe, which would be waited for, and the like."""
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise UserError(f"{path} is {_KINDS.get(kind, 'no file')}, and only files can be read: take it away.")
    return path


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise unreadable(folder, error) from None
    if any(entry.name == "..data" and entry.is_symlink() for entry in entries):
        return [entry for entry in entries if not entry.name.startswith("..")]
    return entries


def status_of(path: Path, name: str) -> os.stat_result:
    """The status of a file, by way of links; UserError where it has none, or its name is not UTF-8."""
    try:
        name.encode()
        return path.stat()
    except UnicodeEncodeError:
        raise UserError(f"{printable(path)} has a name that is not UTF-8: rename it.") from None
    except FileNotFoundError:
        raise UserError(f"{path} is a link to nothing, or was just removed: put its file in place.") from None
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> UserError:
    """The sentence for a file or folder that the system does not let us read."""
    reason = denied(path, write=False) if isinstance(error, PermissionError) else error.strerror or str(error)
    return UserError(f"{printable(path)} can't be read: {reason}.")


def printable(path: Path) -> str:
    """The path as text for a message, whatever bytes it has."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
