"""What a test wants to know of a folder."""

from __future__ import annotations

import os
from pathlib import Path


def files_of(target: Path) -> dict[str, bytes]:
    """The content of each file that a fetch made, by its relative path."""
    files = target / "files"
    return {path.relative_to(files).as_posix(): path.read_bytes() for path in files.rglob("*") if path.is_file()}


def folders_of_one_moment(one: Path, other: Path, name: str, now: Path) -> tuple[Path, Path, Path]:
    """Two folders with a file each, which differ in nothing but their bytes, and a link to the first one.

    Size and both times are the same: what is changed within one tick of the system's clock has the same ctime.
    """
    files = [folder / name for folder in (one, other)]
    for number, file in enumerate(files):
        file.parent.mkdir()
        file.write_text(f"[{number}]")
    for _ in range(10_000):
        for file in files:
            os.utime(file, ns=(10**18, 10**18))
        if len({file.stat().st_ctime_ns for file in files}) == 1:
            break
    else:
        raise AssertionError("this system's clock has no ticks")
    now.symlink_to(one)
    return one, other, now
