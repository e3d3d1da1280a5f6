"""CSV in pieces.

Arrow reads the blocks in which each line is one row; Python's csv module reads the others, row by row. Where every line
is one row the two agree, so a file means the same whichever of them reads it.
"""

import codecs
import csv
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import count

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from kfp_bert_components.plain import BLANKS
from kfp_bert_components.tables.arrow import string_bytes, to_arrow, to_numpy
from kfp_bert_components.tables.batches import LONGEST_CELL, Batch, Fault, make_batch
from kfp_bert_components.tables.dialect import Dialect
from kfp_bert_components.tables.lines import split_lines, with_spaces

# A quote that is not closed after so many lines was not meant as one. In a file with many of them, fewer lines are
# looked through after each: else the same lines would be read again and again.
LONGEST_ROW_LINES = 2_000
_MANY, _FEWER_LINES = 100, 50
# So many lines in a row that look like rows of the file, inside quotes, mean that a quote stands where none should.
SWALLOWED_LINES = 3
_NEVER_CLOSED = "a quote is opened and never closed"
_SWALLOWED = 'a quoted cell holds lines that look like rows of the file (quoting="strict" accepts that)'


def read_csv(blocks: Iterator[bytes], dialect: Dialect, columns: Mapping[str, int], keep: bool) -> Iterator[Batch]:
    """Read a CSV file.

    Args:
        blocks: The file as UTF-8 in blocks of whole lines, without the lines that are skipped.
        dialect: Its delimiter, quoting, header and columns, and how many lines are skipped.
        columns: Index of each wanted column by its name.
        keep: Whether rows with too few or too many cells, or with damaged characters, are kept as well as can be.
    """
    blocks = _with_spaces(blocks, dialect.delimiter) if dialect.spaces else blocks
    records = _Records(blocks, dialect, list(columns.values()))
    row = 1 + dialect.skipped  # the number of the next row
    for block in blocks:
        batch = _read_plain(block, row, dialect, columns)
        if batch is None:
            batch = make_batch(list(columns), records.read(block, row), keep)
            batch = replace(batch, blank=np.array(records.blank, np.int64))
        row += len(batch.rows) + len(batch.faults)
        yield _without_headers(batch, dialect, columns) if dialect.header else batch


def _with_spaces(blocks: Iterator[bytes], delimiter: str) -> Iterator[bytes]:
    """Blocks in which blanks before a cell are spaces, which `dialect.spaces` tells the reader to pass over."""
    for block in blocks:
        yield with_spaces(block.decode("utf-8", "surrogateescape"), delimiter).encode("utf-8", "surrogateescape")


def _without_headers(batch: Batch, dialect: Dialect, columns: Mapping[str, int]) -> Batch:
    """A batch without the header; rows that repeat it, in whichever case, as files that were joined do, are faults."""
    batch = batch.without_row(dialect.first_row_number)
    found = np.arange(len(batch.rows) if len(set(columns.values())) > 1 else 0)
    titles = [dialect.columns[index] for index in columns.values()]
    blanks, quote = f"[{BLANKS}]*", f"{dialect.quote}?"  # quotes stay where a byte order mark stands before them
    for name, title in reversed(list(zip(columns, titles, strict=True))):
        pattern = f"(?i)^{blanks}{quote}{re.escape(title)}{quote}{blanks}$"
        found = found[to_numpy(pc.match_substring_regex(batch.cells[name].take(to_arrow(found)), pattern))]
    if not len(found):
        return batch
    excerpt = dialect.delimiter.join(titles)[:400]
    repeated = [Fault(row, "the row repeats the header", excerpt) for row in batch.rows[found].tolist()]
    kept = batch.take(np.setdiff1d(np.arange(len(batch.rows)), found))
    return replace(kept, faults=[*kept.faults, *repeated])


def _read_plain(block: bytes, row: int, dialect: Dialect, columns: Mapping[str, int]) -> Batch | None:
    """Read a block with Arrow, or return None if not each of its lines is a row without a fault."""
    if dialect.spaces or _has_other_quotes(block, dialect):  # Arrow keeps spaces, and knows one way only
        return None
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
    longest = np.diff(ends, prepend=-1, append=len(block)).max()
    if longest > LONGEST_CELL or b"\0" in block or block.startswith(codecs.BOM_UTF8):  # Arrow would take the mark off
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
                quote_char=False if dialect.quoting == "none" else dialect.quote,
                double_quote=dialect.options().get("doublequote", False),
                escape_char=dialect.options().get("escapechar", False),
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
    if table.num_rows != len(ends) + (not block.endswith(b"\n")) or not _ends_with_row(block, dialect):
        return None
    cells = {name: table[names[index]].combine_chunks() for name, index in columns.items()}
    filled = np.logical_or.reduce([np.diff(string_bytes(cell)[1]) for cell in cells.values()])
    between = f"{dialect.delimiter}{dialect.quote}\r\n".encode()
    places = [place for place in np.flatnonzero(~filled).tolist() if not _line(block, ends, place).strip(between)]
    return Batch(np.arange(row, row + table.num_rows), cells, blank=row + np.array(places, np.int64))


def _line(block: bytes, ends: np.ndarray, place: int) -> bytes:
    """A line of a block by its place; `ends` are the places of the line feeds."""
    return block[ends[place - 1] + 1 if place else 0 : ends[place] if place < len(ends) else len(block)]


def _has_other_quotes(block: bytes, dialect: Dialect) -> bool:
    """Whether a row may write quotes inside of quotes the other way; an empty cell in quotes does not."""
    if not dialect.other:
        return False
    if not dialect.quoting.endswith("backslash"):
        return f"\\{dialect.quote}".encode() in block
    inside = rf"[^\r\n\\{re.escape(dialect.delimiter)}]{2 * dialect.quote}"
    return re.search(inside.encode(), block) is not None


def _ends_with_row(block: bytes, dialect: Dialect) -> bool:
    """Whether the last line of a block leaves no quote open: Arrow would take the end of the block for its end."""
    last = block[block.rfind(b"\n", 0, len(block) - 1) + 1 :].decode("utf-8", "replace")
    return len(list(csv.reader([last, "next"], **dialect.options()))) == 2


@lru_cache
def _row_pattern(dialect: Dialect) -> re.Pattern[str]:
    """What a row looks like: after the quote that closes a cell comes a delimiter or the end."""
    quote, delimiter = dialect.quote, re.escape(dialect.delimiter)
    inside, plain = f"[^{quote}]|{2 * quote}", rf"[^{delimiter}\r\n]"
    if dialect.quoting.endswith("backslash"):  # before a line's end it keeps the line's end in the cell
        inside, plain = rf"[^{quote}\\]|\\[\s\S]", rf"[^{delimiter}\r\n\\]|\\(?:\r\n|[\s\S]?)"
    spaces = " *+" if dialect.spaces else ""
    cell = f"{spaces}(?:{quote}(?:{inside})*+{quote}|(?!{quote})(?:{plain})*+)"
    return re.compile(f"{cell}(?:{delimiter}{cell})*+[\r\n]*")


class _QuoteError(csv.Error):
    """A quote of the row at hand stands where none should."""


class _Records:
    """The rows of a block and of those after it, up to one that ends with a block.

    Python's csv reader is given the lines, and those of a row that went wrong are taken back. `blocks` is where more
    lines come from, for a row that does not end with its block; `wanted` are the indices of the wanted cells.
    `blank` are the numbers of the rows of the block read last that have nothing in their cells.
    """

    def __init__(self, blocks: Iterator[bytes], dialect: Dialect, wanted: Sequence[int]) -> None:
        self._width, self._wanted = len(dialect.columns), wanted
        self._blocks, self._quoting, self._options = blocks, dialect.quoting, dialect.options()
        self._quote, self._trailing, self._backslash = dialect.quote, dialect.trailing, "escapechar" in self._options
        self._row, self._other = _row_pattern(dialect), dialect.other
        self._escaped_quote = ("\\" if self._backslash else self._quote) + self._quote
        self.blank: list[int] = []
        self._waiting: deque[str] = deque()
        self._taken: list[str] = []  # by the row at hand
        self._size = 0  # characters of them
        self._like_rows = 0  # of the lines looked at last, how many in a row look like rows of the file
        self._never_closed = 0  # quotes of the file so far
        self._is_like_row = lru_cache(1 << 12)(self._has_cells_of_row)

    def read(self, block: bytes, row: int) -> Iterator[tuple[int, list[str], str, str]]:
        """Each row: its number (`row` is the first), its cells, what is wrong with it, and how it begins."""
        self._waiting.extend(split_lines(block))
        self.blank = []
        reader = csv.reader(self._lines(), **self._options)
        for number in count(row):
            if not self._waiting:
                return
            self._taken, self._size, self._like_rows = [], 0, 0
            record, reason = [], ""
            try:
                record = next(reader)
                self._check_quotes(record)
            except csv.Error as error:
                record, reason = [], str(error) if isinstance(error, _QuoteError) else "the row can't be read as CSV"
                self._waiting.extendleft(reversed(self._taken[1:]))  # they are rows of their own
                del self._taken[1:]
                reader = csv.reader(self._lines(), **self._options)
            if other := self._read_otherwise():
                record, reason = other, ""
            if not reason and any("\0" in line for line in self._taken):
                record, reason = [], "the row has NUL bytes"
            record = self._without_surplus(record)
            if record and len(record) != self._width:
                reason = f"the row has {len(record)} cell{'s' * (len(record) != 1)} instead of {self._width}"
            if max(map(len, [*record, self._taken[0]])) > LONGEST_CELL:
                record, reason = [], f"the row is longer than {LONGEST_CELL:,} characters"
            if not reason and not any(record):
                self.blank.append(number)
            cells = record + [""] * self._width
            can_be_read = record or not reason
            yield number, [cells[index] for index in self._wanted if can_be_read], reason, self._taken[0][:400]

    def _lines(self) -> Iterator[str]:
        while True:
            if self._taken:
                self._check_open_row()
            if not self._waiting:
                block = next(self._blocks, None)
                if block is None:
                    self._never_closed += 1
                    raise _QuoteError(_NEVER_CLOSED)
                self._waiting.extend(split_lines(block))
            self._taken.append(self._waiting.popleft())
            self._size += len(self._taken[-1])
            yield self._taken[-1]

    def _check_open_row(self) -> None:
        """Look at the row at hand, whose last line so far ends inside quotes."""
        strict, many = self._quoting == "strict", self._never_closed >= _MANY
        most = _FEWER_LINES if many else LONGEST_CELL if strict else LONGEST_ROW_LINES
        if self._size > LONGEST_CELL or len(self._taken) > most:
            self._never_closed += 1
            raise _QuoteError(_NEVER_CLOSED)
        if len(self._taken) > 1 and not strict:
            line = self._taken[-1]
            if self._quote in line.replace(self._escaped_quote, ""):  # a cell ends in it, and another begins
                self._like_rows = 0
            else:
                self._look_for_rows(line.replace(self._escaped_quote, self._quote))

    def _check_quotes(self, record: list[str]) -> None:
        """Look at the quotes of a row that was read."""
        if len(self._taken) == 1 or self._quoting == "none":
            return
        if not self._row.fullmatch("".join(self._taken)):
            raise _QuoteError(_NEVER_CLOSED)
        for cell in record if self._quoting != "strict" else ():
            self._like_rows = 0
            for line in split_lines(cell.encode("utf-8", "surrogateescape")):
                self._look_for_rows(line)

    def _read_otherwise(self) -> list[str]:
        """A row of one line that can only be read with its quotes written the other way; else nothing."""
        if not self._other or len(self._taken) > 1 or 2 * self._quote not in self._taken[0].replace("\\", self._quote):
            return []
        if self._row.fullmatch(self._taken[0]) or not _row_pattern(self._other).fullmatch(self._taken[0]):
            return []
        record = next(csv.reader(self._taken, **self._other.options()))
        return record if len(self._without_surplus(record)) == self._width else []

    def _look_for_rows(self, line: str) -> None:
        """Raise an error when so many lines in a row look like rows that a quote must have swallowed them."""
        self._like_rows = self._like_rows + 1 if self._is_like_row(line) else 0
        if self._like_rows >= SWALLOWED_LINES:
            raise _QuoteError(_SWALLOWED)

    def _has_cells_of_row(self, line: str) -> bool:
        return len(self._without_surplus(next(csv.reader([line], **self._options), []))) == self._width

    def _without_surplus(self, record: list[str]) -> list[str]:
        """A row without the empty cells at its end that rows of the file may have beyond those of the header."""
        surplus = self._trailing and not "".join(record[self._width :]).strip()
        return record[: self._width] if surplus else record
