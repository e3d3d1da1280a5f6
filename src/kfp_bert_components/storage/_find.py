"""From what a user names (an object, a folder, a glob) to the objects that are meant."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.storage._access import Access
from kfp_bert_components.storage._address import Address, parse_address
from kfp_bert_components.storage._look import is_folder, is_there
from kfp_bert_components.storage._open import open_store
from kfp_bert_components.storage._types import Entry
from kfp_bert_components.storage._walk import check_regular, unreadable, walk

_WILD = re.compile(r"[*?\[{]")
_TOKEN = re.compile(r"\*\*/|\*\*|\[.[^]]*\]|.", re.DOTALL)
_WILDCARDS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


@dataclass(frozen=True)
class Found:
    """One object: its full address, its name below the folder (or the glob's start) that was asked for, its entry."""

    address: str
    path: str
    entry: Entry


def find_objects(
    source: str, access: Access | None = None, parameter: str = "the source", *, checksums: bool = True
) -> list[Found]:
    """The objects that a source means now: one object, all below a folder, or those that match a glob.

    A name is taken as it is written, and as a glob only where nothing has it. An empty object beside others that have
    its name as their folder is the folder's marker.

    Args:
        source: An address as in `open_store`, or one with `*`, `**`, `?`, `[ab]`, `[!ab]`, `{a,b}`.
        access: How buckets are reached.
        parameter: Which parameter the source is of, for messages.
        checksums: False leaves `crc32c` empty for local files, where it costs a read of each file. On s3:// it may be
            empty in any case.

    Raises:
        NotFoundError: Nothing is meant.
        UserError: The source is no address, or a local folder holds what can't be read; see `walk`.
    """
    address = parse_address(source, parameter)
    found = _on_disk(address.path, checksums) if address.is_local else _in_bucket(address, access)
    if not found:
        wild = _WILD.search(address.name)
        if not (address.is_local or address.name):
            raise NotFoundError(f"{source} is a bucket in which there is nothing.")
        if address.is_local and is_folder(address.path):
            raise NotFoundError(f"{source} is a folder with nothing in it.")
        what = "matches no object" if wild else "does not exist, neither as a file nor as a folder"
        if several := _several(source):
            raise NotFoundError(f"{source} {what}. Several names are given as a JSON list: -p sources='{several}'.")
        raise NotFoundError(f"{source} {what}: check its spelling, and that the account may list it.")
    return found


def _several(source: str) -> str:
    """A JSON list of the names in a text that is no name itself: those of local files beside each other, or ""."""
    names = re.split(r"[,\s]+", source.strip())
    if len(names) < 2 or not all(is_there(Path(name)) for name in names):
        return ""
    return json.dumps(names, ensure_ascii=False)


def is_meant(glob: str, address: str) -> bool:
    """Whether a glob means an address, be there such an object or not; a source without wildcards means none."""
    base, pattern = _split_glob(glob, lambda part: False)
    return bool(
        _WILD.search(pattern) and address.startswith(f"{base}/") and _matcher(pattern)(address[len(base) + 1 :])
    )


def split_object(address: str) -> tuple[Address, str]:
    """The store to open for one object that was found, and its name in there; objects of a bucket share a store."""
    scheme, separator, rest = address.partition("://")
    if separator and not scheme.startswith("/"):
        bucket, _, name = rest.partition("/")
        return Address(scheme, bucket, ""), name
    return Address("file", "", address).split()


def _in_bucket(address: Address, access: Access | None) -> list[Found]:
    store = open_store(replace(address, name=""), access)
    name, folder = address.name, address.name.rstrip("/")

    def made(entries: Sequence[Entry], base: str) -> list[Found]:
        cut = len(base) + 1 if base else 0
        return [Found(store.describe(one.name), one.name[cut:], one) for one in entries]

    single: list[Entry] = []
    if name and not name.endswith("/"):
        with suppress(NotFoundError):
            single = [store.stat(name)]
    if not (single and single[0].size) and (below := store.list(f"{folder}/" if folder else "")):
        return made(below, folder)
    if single or not _WILD.search(name):
        return made(single, folder.rpartition("/")[0])
    base, pattern = _split_glob(name, lambda part: bool(store.list(f"{part}/", checksums=False)))
    matches = _matcher(pattern)
    return [one for one in made(store.list(f"{base}/" if base else ""), base) if matches(one.path)]


def _on_disk(path: Path, checksums: bool) -> list[Found]:
    try:
        status = path.stat() if path.is_symlink() or is_there(path) else None
    except OSError as error:
        raise unreadable(path, error) from None
    if status and path.is_dir():
        files = walk(path)
    elif status:
        files = iter([(path.name, check_regular(path, status))])
    elif _WILD.search(str(path)):
        base, pattern = _split_glob(str(path), lambda part: is_folder(Path(part)))
        folder = Path(base or "/")
        files = walk(folder, _matcher(pattern), partial(_may_hold, pattern)) if is_folder(folder) else iter(())
    else:
        return []
    return [Found(str(path), name, _entry(path, name, checksums)) for name, path in files]


def _entry(path: Path, name: str, checksum: bool) -> Entry:
    from kfp_bert_components.storage._local import file_entry

    try:
        return file_entry(path, name, checksum=checksum)
    except OSError as error:
        raise unreadable(path, error) from None


def _split_glob(name: str, is_folder: Callable[[str], bool]) -> tuple[str, str]:
    """The folder before the first wildcard, and the pattern below it; a folder that is there is no wildcard."""
    parts = name.split("/")
    for at, part in enumerate(parts):
        if _WILD.search(part) and (at + 1 == len(parts) or not is_folder("/".join(parts[: at + 1]))):
            break
    return "/".join(parts[:at]), "/".join(parts[at:])


def _may_hold(pattern: str, folder: str) -> bool:
    """Whether something below `folder` may match the pattern."""
    wanted = pattern.split("/")
    if re.search(r"\{[^}]*/", pattern):
        return True
    for at, part in enumerate(folder.split("/")):
        if at + 1 >= len(wanted):
            return "**" in wanted[-1]
        if "**" in wanted[at]:
            return True
        if not _matcher(wanted[at])(part):
            return False
    return True


@cache
def _matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a name matches a glob: `*` in a folder, `**` across folders, `?`, `[ab]`, `[!ab]`, `{a,b}`.

    The rules are those of Cloud Storage's matchGlob.
    """
    try:
        expression = re.compile(_expression(pattern))
    except re.error:
        raise UserError(f"{pattern!r} is no glob: a range in [] goes from the lower character to the higher.") from None
    return lambda name: bool(expression.fullmatch(name))


def _expression(pattern: str) -> str:
    out, depth = "", 0
    for found in _TOKEN.finditer(pattern):
        token = found[0]
        if token[0] == "[" and len(token) > 1:
            negated = token[1] in "!^" and len(token) > 3
            inside = re.escape(token[1 + negated : -1]).replace(r"\-", "-")
            out += f"[{'^' * negated}{inside}]"
        elif token == "{" and "}" in pattern[found.end() :]:
            out, depth = out + "(?:", depth + 1
        elif token == "}" and depth:
            out, depth = out + ")", depth - 1
        elif token == "," and depth:
            out += "|"
        else:
            out += _WILDCARDS.get(token) or re.escape(token)
    return f"(?s:{out})"
