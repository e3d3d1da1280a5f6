"""CSV in pieces: Arrow's reader for files without surprises, Python's for what Arrow refuses."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from kfp_bert_components.data.arrow import bytes_of
from kfp_bert_components.tables.chunks import LONGEST_CELL, Chunk, Faults
from kfp_bert_components.tables.dialect import Dialect
from kfp_bert_components.tables.files import TableFile, open_bytes
from kfp_bert_components.tables.survey import Survey

ARROW_BLOCK = 8 << 20
SLOW_ROWS = 20_000
# A quote that is not closed after so many lines was not meant as one.
LONGEST_RECORD_LINES = 2_000


def read_csv(
    file: TableFile,
    number: int,
    compression: str,
    encoding: str,
    dialect: Dialect,
    roles: dict[str, int],
    found: Survey,
    faults: Faults,
    keep: bool,
) -> Iterator[Chunk]:
    """Read a CSV file.

    Args:
        file: The file.
        number: Its number, for the chunks.
        compression: What it is compressed with, or "".
        encoding: Its codec.
        dialect: Its delimiter, quoting and header.
        roles: Index of the column of each role.
        found: The survey of the file.
        faults: Where unreadable rows are counted.
        keep: Whether rows with too few or too many cells, or with damaged characters, are kept as well as can be.

    Yields:
        Chunks in the order of the file.
    """
    # An odd number of quotes means that one is not closed: only the careful reader can say where.
    simple = dialect.quoting == "none" or found.quotes % 2 == 0
    delivered = 0
    local = Faults()
    # Nor can Arrow hand on a row that it refuses if that is not UTF-8.
    if simple and found.valid_utf8 and encoding in ("utf-8", "utf-8-sig", "ascii") and not found.nuls and not keep:
        try:
            for chunk in _read_fast(file, number, compression, dialect, roles, local):
                delivered = int(chunk.rows[-1]) if len(chunk.rows) else delivered
                yield chunk
            _pour(local, faults, file.name)
            return
        except pa.ArrowInvalid:
            # Read again from the start, and go on after the last row that was delivered.
            _pour(local, faults, file.name, until=delivered)
    yield from _read_slow(file, number, compression, encoding, dialect, roles, faults, keep, after=delivered)


def _read_fast(
    file: TableFile, number: int, compression: str, dialect: Dialect, roles: dict[str, int], faults: Faults
) -> Iterator[Chunk]:
    names = [f"c{i}" for i in range(len(dialect.columns))]
    first = 2 if dialect.header else 1
    invalid: list[int] = []

    def skip(row: Any) -> str:
        invalid.append(row.number)
        faults.add(file.name, row.number, _ragged(row.actual_columns, row.expected_columns), row.text)
        return "skip"

    reader = arrow_csv.open_csv(
        open_bytes(file.path, compression),
        # Only with one thread does Arrow know the numbers of the rows that it skips; it is no slower.
        read_options=arrow_csv.ReadOptions(
            column_names=names, skip_rows=first - 1, block_size=ARROW_BLOCK, use_threads=False
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=dialect.delimiter,
            newlines_in_values=dialect.quoting != "none",
            ignore_empty_lines=False,
            quote_char=False if dialect.quoting == "none" else '"',
            double_quote=dialect.quoting == "double",
            escape_char="\\" if dialect.quoting == "backslash" else False,
            invalid_row_handler=skip,
        ),
        convert_options=arrow_csv.ConvertOptions(
            # The survey has found all of the file to be UTF-8.
            column_types={name: pa.string() for name in names},
            check_utf8=False,
            strings_can_be_null=False,
            include_columns=[names[index] for index in sorted(set(roles.values()))],
        ),
    )
    valid = 0
    for batch in reader:
        cells = {role: batch.column(names[index]) for role, index in roles.items()}
        rows = _positions(valid, batch.num_rows, first, invalid)
        valid += batch.num_rows
        yield _without_overlong(Chunk(number, rows, cells), file, faults)


def _without_overlong(chunk: Chunk, file: TableFile, faults: Faults) -> Chunk:
    """The chunk without rows that have a cell too long to be a text; they are faults."""
    good = np.ones(len(chunk.rows), bool)
    for values in chunk.cells.values():
        good &= np.diff(bytes_of(values)[1]) <= LONGEST_CELL
    if good.all():
        return chunk
    for row in chunk.rows[~good].tolist():
        faults.add(file.name, row, f"the row is longer than {LONGEST_CELL:,} characters")
    mask = pa.array(good)
    return Chunk(chunk.file, chunk.rows[good], {role: values.filter(mask) for role, values in chunk.cells.items()})


def _positions(before: int, count: int, first: int, invalid: list[int]) -> np.ndarray:
    """Numbers in the file of `count` valid rows that follow `before` valid ones, around the invalid ones."""
    rows = np.arange(before + first, before + first + count, dtype=np.int64)
    if invalid:
        # The k-th invalid row pushes all rows behind it on by one.
        gaps = np.array(invalid, np.int64) - np.arange(len(invalid))
        rows += np.searchsorted(gaps, rows, side="right")
    return rows


def _read_slow(
    file: TableFile,
    number: int,
    compression: str,
    encoding: str,
    dialect: Dialect,
    roles: dict[str, int],
    faults: Faults,
    keep: bool,
    after: int,
) -> Iterator[Chunk]:
    csv.field_size_limit(2 * LONGEST_CELL)
    width = len(dialect.columns)
    cells: dict[str, list[bytes]] = {role: [] for role in roles}
    rows: list[int] = []
    records = _records(_lines(file, compression, encoding), dialect)
    for row, (record, fault, raw) in enumerate(records, 1):
        if row <= after or (row == 1 and dialect.header):
            continue
        if not fault and len(record) != width and record:
            fault = _ragged(len(record), width)
            if keep:
                fault, record = "", (record + [""] * width)[:width]
        if fault:
            faults.add(file.name, row, fault, raw)
            continue
        record = record or [""] * width
        for role, index in roles.items():
            cells[role].append(record[index].encode("utf-8", "surrogateescape"))
        rows.append(row)
        if len(rows) == SLOW_ROWS:
            yield _chunk(number, rows, cells)
            cells, rows = {role: [] for role in roles}, []
    if rows:
        yield _chunk(number, rows, cells)


def _chunk(number: int, rows: list[int], cells: dict[str, list[bytes]]) -> Chunk:
    arrays = {role: pa.array(values, pa.binary()) for role, values in cells.items()}
    return Chunk(number, np.array(rows, np.int64), arrays)


def _records(lines: Iterator[str], dialect: Dialect) -> Iterator[tuple[list[str], str, str]]:
    """Each record with what is wrong with it ("" for nothing) and its raw start."""
    source = _Lines(lines)
    reader = csv.reader(source, **dialect.options())
    while True:
        source.taken = []
        fault = ""
        record: list[str] = []
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error:
            fault = "the row can't be read as CSV"
        raw = source.taken[0] if source.taken else ""
        if source.overlong:
            fault, source.overlong = f"the row is longer than {LONGEST_CELL:,} characters", False
        elif dialect.quoting != "none" and source.gave_up:
            fault = "a quote is opened and never closed"
            source.back(source.taken[1:])
            reader = csv.reader(source, **dialect.options())
        elif "\0" in raw or any("\0" in cell for cell in record):
            fault = "the row has NUL bytes"
        yield record, fault, raw


class _Lines:
    """Lines for the csv reader, remembering those of the record at hand so that they can be put back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._waiting: list[str] = []
        self.taken: list[str] = []
        self.overlong = False
        self.ended = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if len(self.taken) > LONGEST_RECORD_LINES:
            self.ended = True
            raise StopIteration
        line = self._waiting.pop() if self._waiting else next(self._lines, None)
        if line is None:
            self.ended = True
            raise StopIteration
        if len(line) > LONGEST_CELL:
            self.overlong = True
            line = line[:100].replace('"', "") + "\n"
        self.taken.append(line)
        return line

    @property
    def gave_up(self) -> bool:
        """Whether the record at hand runs over lines only because one of its quotes is not closed."""
        several = self.ended or len(self.taken) > 1
        return several and "".join(self.taken).replace('\\"', "").count('"') % 2 == 1

    def back(self, lines: list[str]) -> None:
        """Put lines back, to be read again as records of their own."""
        self._waiting.extend(reversed(lines))
        self.ended = False


def _lines(file: TableFile, compression: str, encoding: str) -> Iterator[str]:
    """The lines with their ends; bytes that can't be decoded become surrogates; a line without end is cut short."""
    text = io.TextIOWrapper(
        _Reader(open_bytes(file.path, compression)),  # type: ignore[type-var]
        encoding=encoding,
        newline="",
        errors="surrogateescape" if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii") else "replace",
    )
    while line := text.readline(LONGEST_CELL + 2):
        if len(line) > LONGEST_CELL:
            yield line
            while line and not line.endswith(("\n", "\r")):
                line = text.readline(LONGEST_CELL)
        else:
            yield line


class _Reader(io.RawIOBase):
    """An Arrow stream as one that TextIOWrapper takes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1) -> bytes:
        return self._stream.read(1 << 16)

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size if size >= 0 else None)


def _ragged(actual: int, expected: int) -> str:
    return f"the row has {actual} cell{'s' * (actual != 1)} instead of {expected}"


def _pour(local: Faults, faults: Faults, name: str, until: int | None = None) -> None:
    """Add the faults that one reader found to those of all, up to a row."""
    if until is None:
        faults.count += local.count
        faults.reasons.update(local.reasons)
        faults.examples.extend(local.examples)
        return
    kept = [one for one in local.examples if one.row <= until]
    for one in kept:
        faults.add(name, one.row, one.reason, one.excerpt)
