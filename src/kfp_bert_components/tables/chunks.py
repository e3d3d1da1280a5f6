"""What the readers hand on: a few thousand rows with the columns that matter, and the rows they could not read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

EXAMPLES = 5
# The longest cell that is still taken for a text: more is a file that went wrong.
LONGEST_CELL = 1_000_000


@dataclass(frozen=True)
class Chunk:
    """Some rows of one file.

    Attributes:
        file: Number of the file.
        rows: Where each row stands in its file, 1 for the first, header included, int64 [n].
        cells: By role (text, pair, label, split, metadata:NAME): binary or string arrays [n] of UTF-8; a missing cell
            is null.
    """

    file: int
    rows: np.ndarray
    cells: dict[str, pa.Array]


@dataclass
class Example:
    """One row to show.

    Attributes:
        file: The file's name.
        row: The row's number in it.
        excerpt: What it holds.
        reason: What is wrong with it.
        number: Its number among all rows, while the excerpt is still to be read; else -1.
    """

    file: str
    row: int
    excerpt: str
    reason: str = ""
    number: int = -1


@dataclass
class Faults:
    """The rows that could not be read: how many, for which reasons, and the first few of them."""

    count: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)

    def add(self, file: str, row: int, reason: str, excerpt: str | bytes = "") -> None:
        """Count one row."""
        self.count += 1
        self.reasons[reason] += 1
        if self.reasons[reason] <= EXAMPLES:
            text = excerpt[:400].decode("utf-8", "replace") if isinstance(excerpt, bytes) else excerpt
            self.examples.append(Example(file, row, shorten(text), reason))


def shorten(text: str, length: int = 100) -> str:
    """A text on one line, cut to a length, with unprintable characters shown as "·"."""
    line = "".join(c if c.isprintable() else "·" for c in text[: length + 1])
    return line if len(line) <= length else line[: length - 1] + "…"


@dataclass
class FileFacts:
    """What was found out about a file, for the report.

    Attributes:
        name: Its name below the source.
        kind: csv, jsonl or parquet.
        compression: gzip, zstd, bz2 or "".
        encoding: Codec, "" for Parquet.
        delimiter: Of CSV.
        quoting: Of CSV.
        header: Of CSV.
        columns: Names of the columns that were found.
        rows: Rows that were read, unreadable ones included, blank ones and the header not.
        note: Something to know about it, or "".
    """

    name: str
    kind: str = ""
    compression: str = ""
    encoding: str = ""
    delimiter: str = ""
    quoting: str = ""
    header: bool | None = None
    columns: tuple[str, ...] = ()
    rows: int = 0
    note: str = ""
