"""What a test wants to know of a folder."""

from __future__ import annotations

from pathlib import Path


def files_of(target: Path) -> dict[str, bytes]:
    """The content of each file that a fetch made, by its relative path."""
    files = target / "files"
    return {path.relative_to(files).as_posix(): path.read_bytes() for path in files.rglob("*") if path.is_file()}
