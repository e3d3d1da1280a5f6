"""CSV in pieces.

Arrow reads the blocks in which each line is one row; Python's csv module reads the others, row by row. Where every line
is one row the two agree, so a file means the same whichever of them reads it.
"""

import csv
from collections import deque
from collections.abc import Iterator, Mapping

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
            batch = _read_careful(_Records(block, blocks, dialect), row, columns, keep)
        skip = int(dialect.header and batch.rows[:1].tolist() == [1])
        row += len(batch.rows) + len(batch.faults)
        yield Batch(batch.rows[skip:], {name: cells.slice(skip) for name, cells in batch.cells.items()}, batch.faults)


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
    lines = np.count_nonzero(np.frombuffer(block, np.uint8) == ord("\n")) + (not block.endswith(b"\n"))
    if table.num_rows != lines or not _ends_with_row(block, dialect):
        return None
    cells = {name: table[names[index]].combine_chunks() for name, index in columns.items()}
    return Batch(np.arange(row, row + table.num_rows), cells)


def _ends_with_row(block: bytes, dialect: Dialect) -> bool:
    """Whether the last line of a block leaves no quote open: Arrow would take the end of the block for its end."""
    last = block[block.rfind(b"\n", 0, len(block) - 1) + 1 :].decode("utf-8", "replace")
    return len(list(csv.reader([last, "next"], **dialect.options()))) == 2


def _read_careful(records: "_Records", row: int, columns: Mapping[str, int], keep: bool) -> Batch:
    """Read rows up to the first that ends with a block."""
    rows, faults = [], []
    for number, (record, reason, excerpt) in enumerate(records, row):
        if keep and record and len(record) != records.width:
            record, reason = (record + [""] * records.width)[: records.width], ""
        values = [] if reason else [valid_text(record[index], keep) for index in columns.values()]
        good = [value for value in values if value is not None]
        if reason or len(good) < len(values):
            faults.append(Fault(number, reason or "the row has bytes that are not UTF-8", excerpt))
        else:
            rows.append((number, good))
    return string_batch(list(columns), rows, faults)


class _QuoteError(csv.Error):
    """A quote of the row at hand stands where none should."""


class _Records:
    """The rows of a block and of those after it, up to one that ends with a block.

    Python's csv reader is given the lines, and those of a row that went wrong are taken back.

    Args:
        block: The lines to begin with.
        blocks: Where more come from, for a row that does not end with its block.
        dialect: How the file is written.

    Attributes:
        width: Cells of a row.
    """

    def __init__(self, block: bytes, blocks: Iterator[bytes], dialect: Dialect) -> None:
        self.width = len(dialect.columns)
        self._blocks, self._quoting, self._options = blocks, dialect.quoting, dialect.options()
        self._waiting = deque(split_lines(block))
        self._taken: list[str] = []  # by the row at hand
        self._size = 0  # characters of them
        self._like_rows = 0  # of the lines looked at last, how many in a row look like rows of the file

    def __iter__(self) -> Iterator[tuple[list[str], str, str]]:
        """Each row: its cells, what is wrong with it ("" for nothing), and how it begins."""
        csv.field_size_limit(2 * LONGEST_CELL)
        reader = csv.reader(self._lines(), **self._options)
        while self._waiting:
            self._taken, self._size, self._like_rows = [], 0, 0
            record, reason = [], ""
            try:
                record = next(reader)
                self._check_quotes(record)
            except csv.Error as error:
                record, reason = [], str(error) if isinstance(error, _QuoteError) else "the row can't be read as CSV"
                self._waiting.extendleft(reversed(self._taken[1:]))  # they are rows of their own
                reader = csv.reader(self._lines(), **self._options)
            if not reason and any("\0" in line for line in self._taken):
                record, reason = [], "the row has NUL bytes"
            if record and len(record) != self.width:
                reason = f"the row has {len(record)} cell{'s' * (len(record) != 1)} instead of {self.width}"
            if len(self._taken[0]) > LONGEST_CELL:
                record, reason = [], f"the row is longer than {LONGEST_CELL:,} characters"
            yield record if record or reason else [""] * self.width, reason, self._taken[0][:400]

    def _lines(self) -> Iterator[str]:
        while True:
            if self._taken:
                self._check_open_row()
            if not self._waiting:
                block = next(self._blocks, None)
                if block is None:
                    raise _QuoteError(_NEVER_CLOSED)
                self._waiting.extend(split_lines(block))
            self._taken.append(self._waiting.popleft())
            self._size += len(self._taken[-1])
            yield self._taken[-1]

    def _check_open_row(self) -> None:
        """Look at the line taken last, which lies inside quotes unless it is the first."""
        strict = self._quoting == "strict"
        if self._size > LONGEST_CELL or (len(self._taken) > LONGEST_ROW_LINES and not strict):
            raise _QuoteError(_NEVER_CLOSED)
        if len(self._taken) > 1 and not strict:
            line = self._taken[-1]
            self._look_for_rows(line.replace('""', '"') if self._quoting == "double" else line)

    def _check_quotes(self, record: list[str]) -> None:
        """Look at the quotes of a row that was read."""
        if len(self._taken) == 1 or self._quoting == "none":
            return
        quotes = "".join(self._taken)
        if self._quoting == "backslash":
            quotes = quotes.replace("\\\\", "").replace('\\"', "")
        if quotes.count('"') % 2:
            raise _QuoteError(_NEVER_CLOSED)
        for cell in record if self._quoting != "strict" else ():
            self._like_rows = 0
            for line in split_lines(cell.encode("utf-8", "surrogateescape")):
                self._look_for_rows(line)

    def _look_for_rows(self, line: str) -> None:
        """Raise an error when so many lines in a row look like rows that a quote must have swallowed them."""
        like_row = len(next(csv.reader([line], **self._options), [])) == self.width
        self._like_rows = self._like_rows + 1 if like_row else 0
        if self._like_rows >= SWALLOWED_LINES:
            raise _QuoteError(_SWALLOWED)
