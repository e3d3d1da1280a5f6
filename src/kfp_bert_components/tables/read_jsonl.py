"""JSON Lines in pieces: one object a line, each read on its own, so that a broken line costs only itself."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.batches import LONGEST_CELL, Batch, make_batch
from kfp_bert_components.tables.lines import split_lines
from kfp_bert_components.tables.settings import Column

# More keys than this are not kept for the error that lists them.
_MOST_KEYS = 1_000


def read_jsonl(blocks: Iterator[bytes], name: str, columns: Sequence[Column], keep: bool) -> Iterator[Batch]:
    """Read a file of JSON objects, one a line, in UTF-8 blocks of whole lines; blank lines are passed over.

    An object that lacks a wanted key has an empty cell there.

    Raises:
        UserError: No object of the file has one of the keys.
    """
    keys: set[str] = set()
    numbers = count(1)
    for block in blocks:
        rows = _rows(zip(split_lines(block), numbers, strict=False), [column.asked for column in columns], keys)
        yield make_batch([column.name for column in columns], rows, keep)
    for column in columns:
        if keys and column.asked not in keys:
            shown = ", ".join(repr(key[:40]) for key in sorted(keys)[:10])
            raise UserError(
                f"{name} has no key {column.asked!r}: its objects have {shown}; set {column.parameter} to one of them."
            )


def _rows(
    lines: Iterable[tuple[str, int]], wanted: Sequence[str], keys: set[str]
) -> Iterator[tuple[int, list[str], str, str]]:
    """Each row: its number, its cells, what is wrong with it, and how it begins; its keys are added to `keys`."""
    for line, number in lines:
        cells, reason = list[str](), ""
        try:
            if line.strip():
                value = _object(line)
                keys.update(value if len(keys) < _MOST_KEYS else ())
                cells = [_cell(value.get(key), key) for key in wanted]
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
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("the line is not valid JSON") from None
    if not isinstance(value, dict):
        raise ValueError("the line is not a JSON object")
    return value


def _cell(value: Any, key: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if not isinstance(value, str):
        raise ValueError(f"{key} is a list or an object instead of a text")
    if any("\ud800" <= c <= "\udc7f" or "\udd00" <= c <= "\udfff" for c in value):
        return value.encode("utf-8", "replace").decode()  # half of an escaped pair, which stands for no character
    return value
