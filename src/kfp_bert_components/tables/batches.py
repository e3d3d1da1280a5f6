"""What the readers hand on: some rows of one file, and those among them that could not be read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from kfp_bert_components.tables.arrow import strings, to_arrow

# The longest cell, in characters, that is still taken for a text: more is a file that went wrong.
LONGEST_CELL = 1_000_000


@dataclass(frozen=True)
class Fault:
    """A row that could not be read: its number in the file, what is wrong with it, and how it begins."""

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

    def take(self, kept: np.ndarray) -> "Batch":
        """Some of its rows, by index, and all faults."""
        if len(kept) == len(self.rows):
            return self
        return Batch(
            self.rows[kept], {name: cells.take(to_arrow(kept)) for name, cells in self.cells.items()}, self.faults
        )


def string_batch(names: Sequence[str], rows: Sequence[tuple[int, Sequence[str]]], faults: Sequence[Fault]) -> Batch:
    """A batch of rows that were read one by one: the number of each, and its cell in each column."""
    cells = {name: strings([values[index] for _, values in rows]) for index, name in enumerate(names)}
    return Batch(np.array([number for number, _ in rows], np.int64), cells, faults)


def valid_text(value: str, keep: bool) -> str | None:
    """A text; where it has surrogates for bytes that are not UTF-8 (PEP 383), None, or U+FFFD for them to `keep` it."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if keep else None
    return value
