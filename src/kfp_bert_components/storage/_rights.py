"""Why this user may not use a local place, and who can change that."""

from __future__ import annotations

import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

_RIGHTS = {os.R_OK: "read", os.W_OK: "write", os.X_OK: "enter"}
_DENIED = "permission denied to this user"


def denied(path: Path, *, write: bool = True) -> str:
    """Why a path is denied to this user, and what to do.

    Args:
        path: What was to be used; it need not be there.
        write: Whether it was to be written, and not only read.
    """
    for place in (path, *path.parents):
        with suppress(OSError):
            status = place.stat()
            if missing := _missing(place, stat.S_ISDIR(status.st_mode), write):
                return f"{_DENIED}. {_mended(place, status, missing)}"
    return _DENIED


def _missing(place: Path, folder: bool, write: bool) -> list[str]:
    """The rights that this user lacks on a place."""
    needed = [os.R_OK, *([os.W_OK] if write else []), *([os.X_OK] if folder else [])]
    return [_RIGHTS[one] for one in needed if not os.access(place, one, effective_ids=True)]


def _mended(place: Path, status: os.stat_result, missing: list[str]) -> str:
    """Whose a place is, and how this user gets the rights that it lacks."""
    shown = f"{os.fsencode(place).decode('utf-8', 'backslashreplace')} ({stat.filemode(status.st_mode)})"
    right = f"the right to {' and '.join(missing)} it"
    if status.st_uid == os.geteuid():
        return f"{shown} is this user's own: give yourself {right}, with chmod"
    owner = _name(status.st_uid)
    return f"{shown} belongs to {owner}: let them give you {right}, or run this as {owner}"


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # a container's user may have no name
        return f"user {user}"
