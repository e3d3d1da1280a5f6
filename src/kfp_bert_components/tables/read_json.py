"""JSON documents: a list of objects, alone or in an object, or objects written over several lines each."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.batches import Batch, make_batch
from kfp_bert_components.tables.read_jsonl import DECODER, RepeatedKey, add_keys, cells_of, check_keys
from kfp_bert_components.tables.settings import Column, own_column

ROWS = 1 << 16
_SPACE = re.compile(r"\s*")
_START = re.compile(r"\{\s*[\"}]|\[\s*[\[{\]]")


def is_json(name: str, start: str) -> bool:
    """Whether a file that starts so is JSON of one kind or another; `start` has no white space before it."""
    named = re.search(r"\.(json|jsonl|ndjson)(\.\w+)?$", name, re.IGNORECASE)
    return _START.match(start) is not None or (named is not None and start.startswith(("{", "[")))


def is_document(start: str, whole: bool, columns: Sequence[Column]) -> bool:
    """Whether JSON that starts so is to be read whole, and not as one object a line.

    Args:
        start: A sample of its start, without white space before it.
        whole: Whether the sample is all of it.
        columns: The keys that are wanted of its objects.
    """
    lines = [line for line in re.split("[\r\n]+", start)[:100] if line.strip()] if start.startswith("{") else []
    objects = [found for line in lines if isinstance(found := _parsed(line), dict)]
    if len(lines) == 1 and whole:  # one object: a row, or one that holds the rows
        cells = [objects[0].get(column.asked) for column in columns] if objects else [""]
        return all(cell is None or isinstance(cell, list | dict) for cell in cells)
    return 2 * len(objects) < len(lines) or not lines


def read_json(
    blocks: Iterable[bytes], name: str, columns: Sequence[Column], keep: bool, own: bool = False
) -> tuple[str, list[str], Iterator[Batch]]:
    """Read a JSON document, whole, as it can't be read in pieces.

    Returns:
        What to say about it, the keys of its objects where all of them are wanted (`own`), and its objects in batches.

    Raises:
        UserError: It is not valid JSON, or has no list of objects, or several.
    """
    text = b"".join(blocks).decode("utf-8", "surrogateescape")
    values, at = list[Any](), 0
    try:
        while (at := _SPACE.match(text, at).end()) < len(text):  # type: ignore[union-attr]
            value, at = DECODER.raw_decode(text, at)
            values.append(value)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise UserError(
            f"{name} is not valid JSON ({where}: {error.msg}): mend it, or write one object a line (JSON Lines)."
        ) from None
    except (ValueError, RecursionError):
        raise UserError(f"{name} is JSON that is nested too deep: write one object a line (JSON Lines).") from None
    key, objects = _objects(values[0] if len(values) == 1 else values, name, columns)
    place = f" in {key!r}" if key else ""
    keys = dict[str, None]()
    for one in objects if own else ():
        add_keys(keys, one, name)
    batches = _batches(objects, text, name, [*columns, *map(own_column, keys)], keep)
    note = f"is a JSON document; a row is one of the objects{place}" if objects else "is a JSON document without a row"
    return note, list(keys), batches


def _parsed(line: str) -> Any:
    try:
        return DECODER.decode(line)
    except (ValueError, RecursionError):
        return None


def _objects(value: Any, name: str, columns: Sequence[Column]) -> tuple[str, list]:
    """The list of objects, which may be empty, and under which key it is; "" for none."""
    key, asked = "", [column.asked for column in columns]
    if isinstance(value, RepeatedKey):
        raise UserError(f"{name} has the key {value.key[:40]!r} twice in its outer object: leave one out.")
    if isinstance(value, dict):
        lists = {one: found for one, found in value.items() if _is_list(found)}
        fitting = {one: found for one, found in lists.items() if any(name in found[0] for name in asked)} or lists
        if len(fitting) > 1:
            shown = ", ".join(repr(one[:40]) for one in list(fitting)[:5])
            raise UserError(f"{name} has several lists of objects ({shown}): write each to a file of its own.")
        if fitting:
            ((key, value),) = fitting.items()
        elif any(not isinstance(value.get(one, []), list | dict) for one in asked):
            value = [value]
        elif [] in value.values():
            value = []
    if value != [] and not _is_list(value):
        keys = ", ".join(f"{json.dumps(one, ensure_ascii=False)}: ..." for one in asked[:2])
        raise UserError(
            f"{name} is a JSON document without a list of objects: write it as [{{{keys}}}, ...], or one object a line."
        )
    return key, value


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(one, dict) for one in value[:1])


def _batches(objects: list, text: str, name: str, columns: Sequence[Column], keep: bool) -> Iterator[Batch]:
    keys = set[str]()
    for start in range(0, len(objects), ROWS):
        rows = _rows(objects[start : start + ROWS], start + 1, text, columns, keys)
        yield make_batch([column.name for column in columns], rows, keep)
    check_keys(keys, name, columns)


def _rows(
    objects: list, start: int, text: str, wanted: Sequence[Column], keys: set[str]
) -> Iterator[tuple[int, list[str], str, str]]:
    """Each row: its number, its cells, what is wrong with it, and how it begins."""
    for number, value in enumerate(objects, start):
        cells, reason = list[str](), ""
        try:
            cells = cells_of(value, wanted, text, keys)
        except ValueError as error:
            reason = str(error)
        yield number, cells, reason, str(value)[:400] if reason else ""
