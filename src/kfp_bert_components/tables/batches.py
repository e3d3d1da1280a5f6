"""What the readers hand on: some rows of one file, and those among them that could not be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

# The longest cell, in characters, that is still taken for a text: more is a file that went wrong.
LONGEST_CELL = 1_000_000


@dataclass(frozen=True)
class Fault:
    """A row that could not be read.

    Attributes:
        row: Its number in the file.
        reason: What is wrong with it.
        excerpt: How it begins.
    """

    row: int
    reason: str
    excerpt: str = ""


@dataclass(frozen=True)
class Batch:
    """Some rows of one file, in its order.

    Attributes:
        rows: The number of each row that was read, int64 [n]; 1 is the first row of the file, a header included.
        cells: Its cells by the name of their column, each a string array [n]; a missing cell is "".
        faults: The rows that could not be read; they are not in `rows`.
    """

    rows: np.ndarray
    cells: dict[str, pa.Array]
    faults: Sequence[Fault] = ()


@dataclass(frozen=True)
class FileFacts:
    """What was found out about a file.

    Attributes:
        name: Its name below the source.
        kind: csv, jsonl or parquet; "" for an empty file.
        compression: gzip, zstd, bz2 or "".
        encoding: Its codec; "" for Parquet.
        delimiter: Of CSV, else "".
        quoting: Of CSV, else "".
        header: Of CSV: whether the first row names the columns; else None.
        columns: The names of its columns.
        note: Something that a reader of the report should know, or "".
    """

    name: str
    kind: str = ""
    compression: str = ""
    encoding: str = ""
    delimiter: str = ""
    quoting: str = ""
    header: bool | None = None
    columns: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Table:
    """An opened file.

    Attributes:
        facts: What was found out about it.
        batches: Its rows; they can be gone through once.
    """

    facts: FileFacts
    batches: Iterator[Batch]


def string_batch(rows: Sequence[int], cells: dict[str, list[str]], faults: Sequence[Fault]) -> Batch:
    """A batch of Python strings."""
    from kfp_bert_components.tables.arrow import strings

    return Batch(np.array(rows, np.int64), {name: strings(values) for name, values in cells.items()}, faults)


def valid_text(value: str, keep: bool) -> str | None:
    """A text whose bytes were all UTF-8, or None.

    Args:
        value: A text in which bytes that are not UTF-8 stand as surrogates (PEP 383).
        keep: Whether to put U+FFFD for such bytes, instead of returning None.
    """
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if keep else None
    return value
