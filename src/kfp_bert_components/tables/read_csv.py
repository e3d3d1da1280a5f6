"""CSV in pieces.

Arrow reads the blocks in which each line is one row; Python's csv module reads the others, row by row. Where every line
is one row the two agree, so a file means the same whichever of them reads it.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Generator, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from kfp_bert_components.tables.batches import LONGEST_CELL, Batch, Fault, string_batch, valid_text
from kfp_bert_components.tables.dialect import Dialect
from kfp_bert_components.tables.lines import has_long_line, split_lines

# A quote that is not closed after so many lines was not meant as one.
LONGEST_ROW_LINES = 2_000
# So many lines in a row that look like rows of the file, inside quotes, mean that a quote stands where none should.
SWALLOWED_LINES = 3
_NEVER_CLOSED = "a quote is opened and never closed"
_SWALLOWED = 'a quoted cell holds lines that look like rows of the file (quoting="strict" accepts that)'


def read_csv(blocks: Iterator[bytes], dialect: Dialect, columns: Mapping[str, int], keep: bool) -> Iterator[Batch]:
    """Read a CSV file.

    Args:
        blocks: The file as UTF-8 in blocks of whole lines.
        dialect: Its delimiter, quoting, header and columns.
        columns: Index of each wanted column by its name.
        keep: Whether rows with too few or too many cells, or with damaged characters, are kept as well as can be.
    """
    row = 1  # the number of the next row
    for block in blocks:
        batch = _read_plain(block, row, dialect, columns)
        if batch is None:
            batch, row = _read_careful(_Lines(block, blocks, dialect), row, columns, keep)
        else:
            row += len(batch.rows)
        yield _without_header(batch) if dialect.header else batch


def _without_header(batch: Batch) -> Batch:
    if not len(batch.rows) or batch.rows[0] != 1:
        return batch
    return Batch(batch.rows[1:], {name: values.slice(1) for name, values in batch.cells.items()}, batch.faults)


def _read_plain(block: bytes, row: int, dialect: Dialect, columns: Mapping[str, int]) -> Batch | None:
    """Read a block with Arrow, or return None if not each of its lines is a row without a fault."""
    if has_long_line(block) or b"\0" in block:
        return None
    if b"\r" in block and block.count(b"\r") > block.count(b"\r\n"):  # lines that end with it alone
        return None
    names = [f"c{index}" for index in range(len(dialect.columns))]
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(block),
            read_options=arrow_csv.ReadOptions(column_names=names, block_size=len(block) + 1, use_threads=False),
            parse_options=arrow_csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char=False if dialect.quoting == "none" else '"',
                double_quote=dialect.quoting in ("double", "strict"),
                escape_char="\\" if dialect.quoting == "backslash" else False,
                ignore_empty_lines=False,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
                include_columns=[names[index] for index in sorted(set(columns.values()))],
            ),
        )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != block.count(b"\n") + (not block.endswith(b"\n")) or not _ends_with_row(block, dialect):
        return None
    cells = {name: table[names[index]].combine_chunks() for name, index in columns.items()}
    return Batch(np.arange(row, row + table.num_rows), cells)


def _ends_with_row(block: bytes, dialect: Dialect) -> bool:
    """Whether the last line of a block leaves no quote open: Arrow would take the end of the block for its end."""
    last = block[block.rfind(b"\n", 0, len(block) - 1) + 1 :].decode("utf-8", "replace")
    return len(list(csv.reader([last, "next"], **dialect.options()))) == 2


def _read_careful(lines: _Lines, row: int, columns: Mapping[str, int], keep: bool) -> tuple[Batch, int]:
    """Read rows up to the first that ends with a block; also returns the number of the row after that."""
    cells: dict[str, list[str]] = {name: [] for name in columns}
    rows: list[int] = []
    faults = []
    for row, (record, reason, excerpt) in enumerate(lines.records(), row):  # noqa: B020
        if keep and record and len(record) != lines.width:
            record, reason = (record + [""] * lines.width)[: lines.width], ""
        values = [valid_text(record[index], keep) for index in columns.values()] if not reason else []
        if None in values:
            reason = "the row has bytes that are not UTF-8"
        if reason:
            faults.append(Fault(row, reason, excerpt))
            continue
        rows.append(row)
        for name, value in zip(columns, values, strict=True):
            cells[name].append(value or "")
    return string_batch(rows, cells, faults), row + 1


class _OpenQuoteError(Exception):
    """The row at hand does not end where it should."""


class _Lines:
    """Gives Python's csv reader its lines, and takes back those of a row that went wrong.

    Args:
        block: The lines to begin with.
        blocks: Where more come from, for a row that does not end with its block.
        dialect: How the file is written.

    Attributes:
        width: Cells of a row.
    """

    def __init__(self, block: bytes, blocks: Iterator[bytes], dialect: Dialect) -> None:
        self.width = len(dialect.columns)
        self._blocks, self._dialect = blocks, dialect
        self._waiting = deque(split_lines(block))
        self._taken: list[str] = []  # by the row at hand
        self._size = 0  # characters of them
        self._like_rows = 0  # of the lines taken last, how many in a row look like rows of the file

    def records(self) -> Generator[tuple[list[str], str, str]]:
        """Each row: its cells, what is wrong with it ("" for nothing), and how it begins."""
        csv.field_size_limit(2 * LONGEST_CELL)
        reader = csv.reader(self, **self._dialect.options())
        while self._waiting:
            self._taken, self._size, self._like_rows = [], 0, 0
            record: list[str] = []
            try:
                record = next(reader)
                reason = self._misquoted(record)
            except _OpenQuoteError as error:
                reason = str(error)
            except csv.Error:
                reason = "the row can't be read as CSV"
            if reason:
                self._waiting.extendleft(reversed(self._taken[1:]))  # they are rows of their own
                reader = csv.reader(self, **self._dialect.options())
                record = []
            elif any("\0" in line for line in self._taken):
                reason, record = "the row has NUL bytes", []
            elif record and len(record) != self.width:
                reason = f"the row has {len(record)} cell{'s' * (len(record) != 1)} instead of {self.width}"
            if self._taken and len(self._taken[0]) > LONGEST_CELL:
                reason, record = f"the row is longer than {LONGEST_CELL:,} characters", []
            yield record if record or reason else [""] * self.width, reason, self._taken[0][:400]

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self._taken:
            self._check_open_row()
        if not self._waiting:
            block = next(self._blocks, None)
            if block is None:
                raise _OpenQuoteError(_NEVER_CLOSED)
            self._waiting.extend(split_lines(block))
        self._taken.append(self._waiting.popleft())
        self._size += len(self._taken[-1])
        return self._taken[-1]

    def _check_open_row(self) -> None:
        """Look at the line taken last, which lies inside quotes unless it is the first."""
        if self._size > LONGEST_CELL:
            raise _OpenQuoteError(_NEVER_CLOSED)
        if self._dialect.quoting == "strict":
            return
        if len(self._taken) > LONGEST_ROW_LINES:
            raise _OpenQuoteError(_NEVER_CLOSED)
        if len(self._taken) > 1:
            line = self._taken[-1].replace('""', '"') if self._dialect.quoting == "double" else self._taken[-1]
            self._like_rows = self._like_rows + 1 if self._is_like_row(line) else 0
        if self._like_rows >= SWALLOWED_LINES:
            raise _OpenQuoteError(_SWALLOWED)

    def _misquoted(self, record: list[str]) -> str:
        """What is wrong with the quotes of a row that was read, or ""."""
        if len(self._taken) == 1 or self._dialect.quoting == "none":
            return ""
        quotes = "".join(self._taken)
        if self._dialect.quoting == "backslash":
            quotes = quotes.replace("\\\\", "").replace('\\"', "")
        if quotes.count('"') % 2:
            return _NEVER_CLOSED
        if self._dialect.quoting != "strict" and any(map(self._holds_rows, record)):
            return _SWALLOWED
        return ""

    def _holds_rows(self, cell: str) -> bool:
        """Whether so many lines of a cell in a row look like rows of the file that a quote must have swallowed them."""
        run = 0
        for line in split_lines(cell.encode("utf-8", "surrogateescape")):
            run = run + 1 if self._is_like_row(line) else 0
            if run >= SWALLOWED_LINES:
                return True
        return False

    def _is_like_row(self, line: str) -> bool:
        return len(next(csv.reader([line], **self._dialect.options()), [])) == self.width
