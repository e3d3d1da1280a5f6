"""From what a user names (objects, folders, globs) to the list of objects to fetch."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.fetch.manifest import Manifest, Pinned
from kfp_bert_components.storage import Access, Entry, Store, open_store

_WILD = re.compile(r"[*?\[{]")


def resolve(sources: Sequence[str], access: Access) -> Manifest:
    """List the objects that the sources mean now, with their generations and checksums.

    Raises:
        UserError: No source is given, one matches nothing, or a name can't be a file's.
    """
    if not sources or not all(isinstance(source, str) and source.strip() for source in sources):
        raise UserError("No source to fetch is given: name at least one object, folder or glob.")
    found: dict[str, Pinned] = {}
    for source in sources:
        for one in _resolve_one(source.strip(), access):
            known = found.setdefault(one.path, one)
            if known.source != one.source:
                raise UserError(
                    f"{known.source} and {one.source} would both become the file {one.path}: fetch the "
                    "folder above both instead, or fetch them in two steps."
                )
    check_paths(found)
    return Manifest(list(sources), [found[path] for path in sorted(found)])


def _resolve_one(source: str, access: Access) -> Iterable[Pinned]:
    head, pattern = _split(source)
    store = open_store(head, access)
    if pattern and not _WILD.search(pattern) and (single := _single(store, pattern, source)):
        entries, base = [single], pattern.rpartition("/")[0]
    elif _WILD.search(pattern):
        base = _fixed_folder(pattern)
        matches = re.compile(translate_glob(pattern))
        entries = [one for one in store.list(f"{base}/" if base else "") if matches.fullmatch(one.name)]
    else:
        base = pattern.rstrip("/")
        entries = store.list(f"{base}/" if base else "")
    if not entries:
        kind = "matches no object" if _WILD.search(pattern) else "does not exist, neither as a file nor as a folder"
        raise NotFoundError(f"{source} {kind}: check its spelling, and that the account may list it.")
    cut = len(base) + 1 if base else 0
    return [Pinned(store.describe(one.name), one.name[cut:], one.generation, one.size, one.crc32c) for one in entries]


def _split(source: str) -> tuple[str, str]:
    """The store to open, and the name or pattern inside it."""
    if source.startswith("gs://"):
        bucket, _, name = source.removeprefix("gs://").partition("/")
        return f"gs://{bucket}", name
    path = Path(source.removeprefix("file://")).expanduser().absolute()
    if path.is_dir():
        return str(path), ""
    if path.exists():
        return str(path.parent), path.name
    parts = path.parts
    wild = next((at for at, part in enumerate(parts) if _WILD.search(part)), len(parts) - 1)
    return str(Path(*parts[:wild])), "/".join(parts[wild:])


def _single(store: Store, name: str, source: str) -> Entry | None:
    if source.endswith("/"):
        return None
    try:
        return store.stat(name)
    except NotFoundError as error:
        if "no bucket" in str(error):
            raise
        return None


def _fixed_folder(pattern: str) -> str:
    """The folder part of a pattern before its first wildcard."""
    found = _WILD.search(pattern)
    return pattern[: found.start() if found else None].rpartition("/")[0]


def translate_glob(pattern: str) -> str:
    """The regular expression of a glob: `*` in a folder, `**` across folders, `?`, `[ab]`, `[!ab]`, `{a,b}`.

    The rules are those of Cloud Storage's matchGlob.
    """
    out, at, depth = "", 0, 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**/", at):
            out, at = out + "(?:.*/)?", at + 3
            continue
        if pattern.startswith("**", at):
            out, at = out + ".*", at + 2
            continue
        closing = pattern.find("]", at + 2) if char == "[" else -1
        if closing > 0:
            inside = pattern[at + 1 : closing].replace("\\", "\\\\")
            out += "[" + ("^" + inside[1:] if inside[0] in "!^" else inside) + "]"
            at = closing
        elif char == "{" and "}" in pattern[at:]:
            out, depth = out + "(?:", depth + 1
        elif char == "}" and depth:
            out, depth = out + ")", depth - 1
        elif char == "," and depth:
            out += "|"
        else:
            out += {"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char))
        at += 1
    return f"(?s:{out})"


def check_paths(found: dict[str, Pinned]) -> None:
    """Refuse names that would leave the target folder or fall together on some file system."""
    folded: dict[str, str] = {}
    for path, one in found.items():
        reason = _bad_path(path)
        if reason:
            raise UserError(f"{one.source} can't be fetched: its name {reason}. Rename the object.")
        key = unicodedata.normalize("NFC", path).casefold()
        other = found[folded.setdefault(key, path)]
        if other is not one:
            raise UserError(
                f"{other.source} and {one.source} differ only by case or by the form of an accent, and would "
                "be one file on many file systems: rename one of them."
            )
    for key in folded:
        parent = key.rpartition("/")[0]
        while parent:
            if parent in folded:
                raise UserError(
                    f"{found[folded[parent]].source} would have to be a file and a folder at once, because "
                    f"of {found[folded[key]].source}: rename one of them."
                )
            parent = parent.rpartition("/")[0]


def _bad_path(path: str) -> str:
    parts = path.split("/")
    if "\\" in path:
        return "holds a backslash"
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in path):
        return "holds a control character"
    if ".." in parts or "." in parts:
        return "holds '.' or '..' as a folder and could leave the target folder"
    if "" in parts:
        return "starts or ends with '/' or holds '//'"
    if any(len(part.encode("utf-8")) > 255 for part in parts):
        return "has a part of more than 255 bytes, more than file systems take"
    return ""
