"""What the readers hand on: some rows of one file, and those among them that could not be read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

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
        mended: Rows that were read although something is wrong with them; they are in `rows`.
        blank: The numbers of those of `rows` that have nothing in any cell of the file, wanted or not, int64.
    """

    rows: np.ndarray
    cells: dict[str, pa.Array]
    faults: Sequence[Fault] = ()
    mended: Sequence[Fault] = ()
    blank: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def take(self, kept: np.ndarray) -> "Batch":
        """Some of its rows, by index, and all faults and mended rows."""
        if len(kept) == len(self.rows):
            return self
        cells = {name: cells.take(to_arrow(kept)) for name, cells in self.cells.items()}
        return replace(self, rows=self.rows[kept], cells=cells)

    def without_row(self, number: int) -> "Batch":
        """All but the row of this number, which may be a fault."""
        kept = self.take(np.flatnonzero(self.rows != number))
        faults, mended = ([one for one in found if one.row != number] for found in (self.faults, self.mended))
        return replace(kept, faults=faults, mended=mended)


def make_batch(names: Sequence[str], rows: Iterable[tuple[int, Sequence[str], str, str]], keep: bool) -> Batch:
    """A batch of rows that were read one by one.

    Args:
        names: Of the columns.
        rows: Number, cells with surrogates for bytes that are not UTF-8 (PEP 383), what is wrong ("": nothing), start;
            no cells where the row can't be mended.
        keep: Whether rows are mended where they can be: U+FFFD is put for such bytes. Else they are faults.
    """
    good, faults, mended = list[tuple[int, list[str]]](), list[Fault](), list[Fault]()
    for number, cells, reason, excerpt in rows:
        texts = [cell.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for cell in cells]
        if not reason and texts != cells:
            reason = "the row has bytes that are not UTF-8"
        if reason:
            (mended if keep and cells else faults).append(Fault(number, reason, excerpt))
        if not reason or (keep and cells):
            good.append((number, texts))
    columns = {name: strings([texts[index] for _, texts in good]) for index, name in enumerate(names)}
    return Batch(np.array([number for number, _ in good], np.int64), columns, faults, mended)
