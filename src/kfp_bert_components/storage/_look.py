"""What lies at a path of this machine. Where the system does not tell, that is an error in a sentence."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from kfp_bert_components.storage._walk import unreadable


def is_there(path: Path) -> bool:
    """Whether there is anything; UserError where it can't be known, as below a folder that may not be entered."""
    return _look(path) is not None


def is_folder(path: Path) -> bool:
    """Whether there is a folder, or a link to one; UserError as in `is_there`."""
    found = _look(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def is_file(path: Path) -> bool:
    """Whether there is a file, or a link to one; UserError as in `is_there`."""
    found = _look(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def _look(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(path, error) from None
