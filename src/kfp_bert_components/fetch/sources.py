"""From what a user names (objects, folders, globs) to the list of objects to fetch."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.fetch.manifest import Manifest, Pinned
from kfp_bert_components.storage import Access, Entry, Store, open_store

_WILD = re.compile(r"[*?\[{]")
_TOKEN = re.compile(r"\*\*/|\*\*|\[.[^]]*\]|.", re.DOTALL)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # and halves of characters, which UTF-8 has no bytes for
_WILDCARDS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


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
    wild = _WILD.search(pattern)
    base = pattern[: wild.start()].rpartition("/")[0] if wild else pattern.rstrip("/")
    if pattern and not wild and (single := _single(store, pattern, source)):
        entries, base = [single], pattern.rpartition("/")[0]
    else:
        entries = store.list(f"{base}/" if base else "")
    if wild:
        matches = re.compile(translate_glob(pattern))
        entries = [one for one in entries if matches.fullmatch(one.name)]
    if not entries:
        kind = "matches no object" if wild else "does not exist, neither as a file nor as a folder"
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


def translate_glob(pattern: str) -> str:
    """The regular expression of a glob: `*` in a folder, `**` across folders, `?`, `[ab]`, `[!ab]`, `{a,b}`.

    The rules are those of Cloud Storage's matchGlob.
    """
    out, depth = "", 0
    for found in _TOKEN.finditer(pattern):
        token = found[0]
        if token[0] == "[" and len(token) > 1:
            inside = token[1:-1].replace("\\", "\\\\")
            out += f"[^{inside[1:]}]" if inside[0] in "!^" else f"[{inside}]"
        elif token == "{" and "}" in pattern[found.end() :]:
            out, depth = out + "(?:", depth + 1
        elif token == "}" and depth:
            out, depth = out + ")", depth - 1
        elif token == "," and depth:
            out += "|"
        else:
            out += _WILDCARDS.get(token) or re.escape(token)
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
