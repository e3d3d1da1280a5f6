"""From what a user names to the list of files to fetch: each under a name of its own that every disk takes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import chain
from pathlib import PurePosixPath

from kfp_bert_components.errors import UserError
from kfp_bert_components.fetch.manifest import Manifest, Pinned
from kfp_bert_components.storage import Access, find_objects

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # and halves of characters, which UTF-8 has no bytes for


def resolve(sources: Sequence[str], access: Access) -> Manifest:
    """List the objects that the sources mean now, with their generations and checksums.

    Raises:
        UserError: No source is given, one matches nothing, or a name can't be a file's.
    """
    return _manifest(sources, _found(sources, access, checksums=True))


def look(sources: Sequence[str], access: Access) -> tuple[Manifest, dict[str, tuple[int, int]]]:
    """The same without reading local files, which have no checksums then; and files and bytes of each source."""
    found = _found(sources, access, checksums=False)
    return _manifest(sources, found), {name: (len(one), sum(file.size for file in one)) for name, one in found.items()}


def _found(sources: Sequence[str], access: Access, *, checksums: bool) -> dict[str, list[Pinned]]:
    """The objects of each source."""
    if not sources or not all(isinstance(source, str) for source in sources):
        raise UserError("No source to fetch is given: name at least one object, folder or glob.")
    return {
        source: [
            Pinned(one.address, one.path, one.entry.generation, one.entry.size, one.entry.crc32c)
            for one in find_objects(source, access, "the source", checksums=checksums)
        ]
        for source in sources
    }


def _manifest(sources: Sequence[str], found: dict[str, list[Pinned]]) -> Manifest:
    by_path: dict[str, Pinned] = {}
    for one in chain.from_iterable(found.values()):
        known = by_path.setdefault(one.path, one)
        if known.source != one.source:
            raise UserError(
                f"{known.source} and {one.source} would both become the file {one.path}: fetch the "
                "folder above both instead, or fetch them in two steps."
            )
    check_paths(by_path)
    return Manifest(list(sources), [by_path[path] for path in sorted(by_path)])


def check_paths(found: dict[str, Pinned]) -> None:
    """Refuse names that would leave the target folder or fall together on some file system."""
    folded: dict[str, str] = {}
    for path, one in found.items():
        if reason := _bad_path(path):
            raise UserError(f"{one.source} can't be fetched: its name {reason}. Rename the object.")
        key = unicodedata.normalize("NFC", path).casefold()
        other = found[folded.setdefault(key, path)]
        if other is not one:
            raise UserError(
                f"{other.source} and {one.source} differ only by case or by the form of an accent, and would "
                "be one file on many file systems: rename one of them."
            )
    for key, path in folded.items():
        for parent in map(str, PurePosixPath(key).parents):
            if parent in folded:
                raise UserError(
                    f"{found[folded[parent]].source} would have to be a file and a folder at once, because of "
                    f"{found[path].source}: rename one of them."
                )


def _bad_path(path: str) -> str:
    parts = path.split("/")
    if "\\" in path:
        return "holds a backslash"
    if _CONTROL.search(path):
        return "holds a control character"
    if ".." in parts or "." in parts:
        return "holds '.' or '..' as a folder and could leave the target folder"
    if "" in parts:
        return "starts or ends with '/' or holds '//'"
    if any(len(part.encode("utf-8")) > 255 for part in parts):
        return "has a part of more than 255 bytes, more than file systems take"
    return ""
