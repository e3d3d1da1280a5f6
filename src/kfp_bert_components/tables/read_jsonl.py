"""JSON Lines in pieces: one object a line, each read on its own, so that a broken line costs only itself."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from math import isfinite
from typing import Any

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.batches import LONGEST_CELL, Batch, make_batch
from kfp_bert_components.tables.lines import split_lines
from kfp_bert_components.tables.settings import Column, nfc

# More keys than this are not kept for the error that lists them, and are no columns of a table.
_MOST_KEYS = 1_000


class RepeatedKey(dict):
    """A JSON object that has a key twice, called `key`."""

    key = ""


def _as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = {nfc(key): value for key, value in pairs}
    if len(found) < len(pairs):
        found = RepeatedKey(found)
        found.key = next(key for key, count in Counter(nfc(key) for key, _ in pairs).items() if count > 1)
    return found


# The keys of the objects that it makes are in Unicode form NFC.
DECODER = json.JSONDecoder(object_pairs_hook=_as_object)


def read_jsonl(blocks: Iterator[bytes], name: str, columns: Sequence[Column], keep: bool) -> Iterator[Batch]:
    """Read a file of JSON objects, one a line, in UTF-8 blocks of whole lines; blank lines are passed over.

    An object that lacks a wanted key has an empty cell there.

    Raises:
        UserError: No object of the file has one of the keys.
    """
    keys: set[str] = set()
    numbers = count(1)
    for block in blocks:
        rows = _rows(zip(split_lines(block), numbers, strict=False), columns, keys)
        yield make_batch([column.name for column in columns], rows, keep)
    check_keys(keys, name, columns)


def read_keys(blocks: Iterable[bytes], name: str) -> list[str]:
    """All keys of a file of JSON objects, one a line, in the order in which they come; it is read to its end.

    Raises:
        UserError: They are more than a table has columns.
    """
    keys = dict[str, None]()
    for block in blocks:
        for line in split_lines(block):
            with suppress(ValueError):  # a fault, of which the rows tell
                add_keys(keys, _object(line), name)
    return list(keys)


def add_keys(keys: dict[str, None], value: Any, name: str) -> None:
    """Add the keys of one object to those of its file; see `read_keys`."""
    if isinstance(value, dict) and not value.keys() <= keys.keys():
        keys.update(dict.fromkeys(value))
        if len(keys) > _MOST_KEYS:
            raise UserError(
                f"{name} has more than {_MOST_KEYS:,} different keys in its objects, and each would be a column: put "
                "those that differ from row to row into an object under one key."
            )


def check_keys(keys: set[str], name: str, columns: Sequence[Column]) -> None:
    """Raise a UserError where no object of a file has one of the keys that are wanted."""
    for column in columns:
        if keys and column.asked not in keys:
            shown = ", ".join(repr(key[:40]) for key in sorted(keys)[:10])
            raise UserError(
                f"{name} has no key {column.asked!r}: its objects have {shown}; set {column.parameter} to one of them."
            )


def cells_of(value: Any, wanted: Sequence[Column], raw: str, keys: set[str]) -> list[str]:
    """The cells of an object that was parsed from `raw`; its keys are added to `keys`.

    Raises:
        ValueError: It is no object, or has a key twice, or a cell can't be a text.
    """
    if not isinstance(value, dict):
        raise ValueError("the row is not a JSON object")
    if isinstance(value, RepeatedKey):
        raise ValueError(f"the row has the key {value.key[:40]!r} twice")
    keys.update(value if len(keys) < _MOST_KEYS else ())
    cells = [_cell(value.get(column.asked), column, raw) for column in wanted]
    if max(map(len, cells)) > LONGEST_CELL:
        raise ValueError(f"the row is longer than {LONGEST_CELL:,} characters")
    return cells


def _rows(
    lines: Iterable[tuple[str, int]], wanted: Sequence[Column], keys: set[str]
) -> Iterator[tuple[int, list[str], str, str]]:
    """Each row: its number, its cells, what is wrong with it, and how it begins; its keys are added to `keys`."""
    for line, number in lines:
        cells, reason = list[str](), ""
        try:
            if line.strip():
                cells = cells_of(_object(line), wanted, line, keys)
        except ValueError as error:
            reason = str(error)
        if cells or reason:
            yield number, cells, reason, line[:400]


def _object(line: str) -> Mapping[str, Any]:
    if len(line) > LONGEST_CELL:
        raise ValueError(f"the line is longer than {LONGEST_CELL:,} characters")
    if "\0" in line:
        raise ValueError("the line has NUL bytes")
    try:
        value = DECODER.decode(line)
    except (ValueError, RecursionError):
        raise ValueError("the line is not valid JSON") from None
    if not isinstance(value, dict):
        raise ValueError("the line is not a JSON object")
    return value


def _cell(value: Any, column: Column, raw: str) -> str:
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, int | float):
        return repr(value)
    if column.own and isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        raise ValueError(f"{column.asked} is a list or an object instead of a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        # Half of an escaped pair stands for no character; one that is in the file stands for a byte that is not UTF-8.
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" and c not in raw else c for c in value)
    return value
