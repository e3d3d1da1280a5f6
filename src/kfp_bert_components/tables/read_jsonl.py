"""JSON Lines in pieces: one object a line, each read on its own, so that a broken line costs only itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from kfp_bert_components.data.settings import parameter_of
from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.chunks import LONGEST_CELL, Chunk, Faults
from kfp_bert_components.tables.files import TableFile
from kfp_bert_components.tables.read_csv import _lines

ROWS = 20_000


def read_jsonl(
    file: TableFile, number: int, compression: str, encoding: str, roles: dict[str, str], faults: Faults
) -> Iterator[Chunk]:
    """Read a file of JSON objects, one a line.

    Args:
        file: The file.
        number: Its number, for the chunks.
        compression: What it is compressed with, or "".
        encoding: Its codec.
        roles: The key of each role.
        faults: Where unreadable lines are counted.

    Raises:
        UserError: No object in the file has the keys of text and label.
    """
    cells: dict[str, list[bytes | None]] = {role: [] for role in roles}
    rows: list[int] = []
    seen: set[str] = set()
    keys: set[str] = set()
    for row, line in enumerate(_lines(file, compression, encoding), 1):
        if not line.strip():
            continue
        values, fault = _values(line, roles, keys)
        if fault:
            faults.add(file.name, row, fault, line)
            continue
        seen.update(role for role, value in values.items() if value is not None)
        for role, value in values.items():
            cells[role].append(value)
        rows.append(row)
        if len(rows) == ROWS:
            yield _chunk(number, rows, cells)
            cells, rows = {role: [] for role in roles}, []
    for role, key in roles.items():
        if keys and key not in keys:
            shown = ", ".join(repr(name[:40]) for name in sorted(keys)[:10])
            raise UserError(
                f"{file.name} has no key {key!r}: its objects have {shown}; set {parameter_of(role)} to one of them."
            )
    if rows:
        yield _chunk(number, rows, cells)


def _chunk(number: int, rows: list[int], cells: dict[str, list[bytes | None]]) -> Chunk:
    arrays = {role: pa.array(values, pa.binary()) for role, values in cells.items()}
    return Chunk(number, np.array(rows, np.int64), arrays)


def _values(line: str, roles: dict[str, str], keys: set[str]) -> tuple[dict[str, bytes | None], str]:
    """The values of one line by role, and what is wrong with the line."""
    if len(line) > LONGEST_CELL:
        return {}, f"the line is longer than {LONGEST_CELL:,} characters"
    if "\0" in line:
        return {}, "the line has NUL bytes"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}, "the line is not valid JSON"
    if not isinstance(value, dict):
        return {}, "the line is not a JSON object"
    if len(keys) < 1_000:
        keys.update(value)
    values = {}
    for role, key in roles.items():
        cell, fault = _cell(value.get(key))
        if fault:
            return {}, f"{key} is {fault}"
        values[role] = cell
    return values, ""


def _cell(value: Any) -> tuple[bytes | None, str]:
    if value is None:
        return None, ""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape" if _escaped(value) else "replace"), ""
    if isinstance(value, bool):
        return str(value).lower().encode(), ""
    if isinstance(value, int | float):
        return repr(value).encode(), ""
    return None, "a list or an object instead of a text"


def _escaped(value: str) -> bool:
    """Whether the surrogates in a text stand for single bytes that could not be decoded."""
    return all("\udc80" <= c <= "\udcff" for c in value if "\ud800" <= c <= "\udfff")
