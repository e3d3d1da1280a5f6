"""How a CSV file is written: delimiter, quoting and header, found from a sample of its first rows."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice, zip_longest

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.batches import LONGEST_CELL
from kfp_bert_components.tables.lines import INDENTS, with_spaces
from kfp_bert_components.tables.preamble import first_record, lines_of_one_cell, separator_line, title_lines
from kfp_bert_components.tables.settings import Column, TableSettings, header_name

# Python's csv reader refuses longer cells. The limit holds for the whole process, so it is set once and for all.
csv.field_size_limit(2 * LONGEST_CELL)
DELIMITERS = ",\t;|"
# The arguments of Python's csv reader for each way of quoting.
QUOTINGS: dict[str, dict] = {
    "double": {"doublequote": True},
    "strict": {"doublequote": True},
    "backslash": {"doublequote": False, "escapechar": "\\"},
    "single": {"quotechar": "'", "doublequote": True},
    "single-backslash": {"quotechar": "'", "doublequote": False, "escapechar": "\\"},
    "none": {"quoting": csv.QUOTE_NONE},
}
# With quotes inside of quotes written the other way.
_OTHER_QUOTING = {
    "double": "backslash",
    "backslash": "double",
    "single": "single-backslash",
    "single-backslash": "single",
}
ROWS = 2_000
# Characters of a sample that are looked through for blanks before quotes.
_START = 1 << 15
# What a column of categories is usually called.
_CATEGORY_NAMES = {"label", "labels", "class", "category", "target", "sentiment", "intent", "topic"}
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")
# Names of rows: numbers, or short names with a number in them, and nothing that may be a text.
_ROW_NUMBER = re.compile(r"[0-9]{1,12}")
_ROW_NAME = re.compile(r"[A-Za-z_.-]{0,20}[0-9][A-Za-z0-9_.-]{0,20}")
# What R writes: names in quotes with spaces between them.
_QUOTED_NAMES = re.compile(r'"[^"]*"( "[^"]*")+[ \t]*(?=[\r\n]|\Z)')


@dataclass(frozen=True)
class Dialect:
    """How one CSV file is written.

    Attributes:
        delimiter: One character.
        quoting: double, strict, backslash, single, single-backslash or none.
        either: Whether a row may write quotes inside of quotes the other way, "" or \\", as nobody said how.
        spaces: Whether spaces, and other blanks, before a cell are no part of it.
        header: Whether the first row names the columns.
        guessed_header: Whether it does so only by the looks of it.
        columns: The names of the columns; "#1", "#2" ... where there is no header.
        first_row: The first row.
        first_row_number: Its number in the file: lines that are passed over and blank lines may precede it.
        skipped: Lines at the start of the file that are passed over.
        separator: The delimiter that the first of them names, or "".
        trailing: Whether a row may end with delimiters, that is, have empty cells too many.
        row_names: Whether the header has no name for the first column, as R writes tables.
    """

    delimiter: str
    quoting: str
    either: bool = False
    spaces: bool = False
    header: bool = False
    guessed_header: bool = False
    columns: tuple[str, ...] = ()
    first_row: tuple[str, ...] = ()
    first_row_number: int = 1
    skipped: int = 0
    separator: str = ""
    trailing: bool = False
    row_names: bool = False

    @property
    def note(self) -> str:
        """What a reader of the report should know beside delimiter, quoting and names, or ""."""
        lines = f"its first {self.skipped} lines are" if self.skipped > 1 else "its first line is"
        notes = {
            f"{lines} no part of the table and passed over": self.skipped,
            f"the first of them names the delimiter {self.separator!r}": self.separator and self.skipped > 1,
            f"it names the delimiter {self.separator!r}": self.separator and self.skipped == 1,
            "cells are quoted by '": self.quote == "'",
            "blanks before a cell are left out": self.spaces,
            "its first row is taken for the names of the columns": self.guessed_header,
            "a row may end with empty cells that the header does not name": self.trailing,
            "its first column, which the header does not name, is taken for names of rows": self.row_names,
        }
        return "; ".join(note for note, holds in notes.items() if holds)

    @property
    def quote(self) -> str:
        """The character around quoted cells."""
        return "'" if self.quoting.startswith("single") else '"'

    def options(self) -> dict:
        """The arguments for Python's csv reader."""
        return {"delimiter": self.delimiter, "skipinitialspace": self.spaces, **QUOTINGS[self.quoting]}

    @property
    def other(self) -> "Dialect | None":
        """The same with quotes inside of quotes written the other way; None where no row does that."""
        quoting = _OTHER_QUOTING.get(self.quoting) if self.either else None
        return replace(self, quoting=quoting) if quoting else None


def find_dialect(name: str, sample: str, whole: bool, columns: Sequence[Column], settings: TableSettings) -> Dialect:
    """Find the dialect of a file.

    Args:
        name: The file's name; .tsv and .tab prefer a tab.
        sample: The decoded start of the file.
        whole: Whether the sample is all of it; otherwise its last line is cut off.
        columns: The columns that are wanted.
        settings: What the user has said about delimiter, quoting, header and lines to skip.

    Raises:
        UserError: The file has no rows, or its given delimiter is not one character.
    """
    if not whole and "\n" in sample:
        sample = sample[: sample.rindex("\n") + 1]
    separator = separator_line(sample)
    skipped = settings.skip_rows or int(bool(separator))
    delimiters = _delimiters(name, _without_lines(sample, skipped), separator, settings)
    if not settings.skip_rows:
        skipped += title_lines(name, _without_lines(sample, skipped), delimiters, columns, settings)
    table = _without_lines(sample, skipped)
    dialect, rows = _best(name, table, delimiters, columns, settings)
    table = with_spaces(table, dialect.delimiter) if dialect.spaces else table
    dialect = replace(dialect, either=settings.quoting == "auto")
    counted = all(column.position is not None for column in columns)
    if counted and settings.header != "no" and not settings.skip_rows and _width(rows) > 1:
        above = lines_of_one_cell(table, dialect.options())
        padded = lines_of_one_cell(table, dialect.options(), padded=True) if settings.header == "auto" else 0
        # A row may lack its label: it is a title only above a row that names the columns.
        if padded and _has_header(_sample_rows(_without_lines(table, padded), dialect), columns, settings):
            above = padded
        skipped, table = skipped + above, _without_lines(table, above)
        rows = _sample_rows(table, dialect)
    blank = table[: len(table) - len(table.lstrip("\r\n"))].replace("\r\n", "\n")
    dialect = replace(
        dialect,
        first_row=tuple(rows[0]),
        first_row_number=1 + skipped + len(blank),
        skipped=skipped,
        separator=separator,
    )
    while len(rows[0]) > _width(rows[1:] or rows) and not rows[0][-1].strip():
        rows[0].pop()
    trailing = _trailing(rows)
    row_names = not trailing and _has_row_names(rows, table, dialect)
    if row_names:
        rows[0] = ["", *rows[0]]
    if not _has_header(rows, columns, settings):
        return replace(dialect, columns=tuple(f"#{i + 1}" for i in range(_width(rows))))
    names = tuple(header_name(cell) for cell in rows[0])
    said = settings.header == "yes" or any(column.asked in names for column in columns)
    return replace(dialect, header=True, guessed_header=not said, columns=names, trailing=trailing, row_names=row_names)


def _without_lines(sample: str, count: int) -> str:
    """What follows the first lines."""
    return "".join(islice(io.StringIO(sample, newline=""), count, None)) if count else sample


def _best(
    name: str, sample: str, delimiters: str, columns: Sequence[Column], settings: TableSettings
) -> tuple[Dialect, list[list[str]]]:
    """The dialect in which the rows of a sample agree best on their number of cells, and these rows."""
    quotings: tuple[str, ...] = (settings.quoting,)
    if settings.quoting == "auto":
        single = re.search(rf"(?:^|[{re.escape(delimiters)}])[{INDENTS}]*'", sample, re.MULTILINE) is not None
        quotings = ("double", "backslash", *(("single", "single-backslash") if single else ()), "none")
    read = []
    for dialect in (Dialect(delimiter, quoting) for delimiter in delimiters for quoting in quotings):
        rows = _sample_rows(sample, dialect)
        read += [(dialect, rows, sample)] if rows else []
        if _may_be_spaced(sample, rows, dialect):
            spaced, text = replace(dialect, spaces=True), with_spaces(sample, dialect.delimiter)
            read.append((spaced, _sample_rows(text, spaced), text))
    if not read and settings.skip_rows:
        raise UserError(f"{name} has no rows below the {settings.skip_rows:,} lines to skip: correct skip_rows.")
    if not read:
        raise UserError(f"{name} has no rows: remove the file, or write it again.")
    named = {column.asked for column in columns if column.position is None}
    return max(read, key=lambda one: _score(one[1], one[0], one[2], named))[:2]  # the first of the best


def _sample_rows(sample: str, dialect: Dialect) -> list[list[str]]:
    """The first rows of a sample in a dialect; blank lines are left out."""
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(sample.replace("\0", ""), newline=""), **dialect.options())
    with suppress(csv.Error):  # a cell that is too long or a stray carriage return: the rows before it tell enough
        rows.extend(islice(filter(None, reader), ROWS))
    return rows


def _delimiters(name: str, sample: str, separator: str, settings: TableSettings) -> str:
    """The characters that may be the delimiter; `separator` is the one that the file names."""
    if settings.delimiter != "auto":
        delimiter = settings.delimiter.replace("\\t", "\t")
        if len(delimiter) != 1 or delimiter in '\r\n"' or not delimiter.isascii():
            raise UserError(
                f"delimiter is {settings.delimiter!r}: it must be one ASCII character, such as ',' or '\\t'."
            )
        return delimiter
    if settings.file_format == "tsv":
        return "\t"
    if separator:
        return separator
    if _QUOTED_NAMES.match(sample):
        return " "
    stem = name.removesuffix(".gz").removesuffix(".zst").removesuffix(".bz2")
    return "\t,;|" if stem.endswith((".tsv", ".tab")) else DELIMITERS


def _may_be_spaced(sample: str, rows: Sequence[Sequence[str]], dialect: Dialect) -> bool:
    """Whether blanks stand before quotes in the first line or most lines, or before nearly all cells and one quote."""
    start = sample[:_START]
    first, lines = re.split("[\r\n]", start, maxsplit=1)[0], max(start.count("\n"), start.count("\r"), 1)
    spaced_quote = f"[{INDENTS.replace(dialect.delimiter, '')}]+{dialect.quote}(?!{dialect.quote})"
    for before in (r"(?:\A|[\r\n])", re.escape(dialect.delimiter)):
        pattern = re.compile(before + spaced_quote)
        if pattern.search(first) or 2 * len(pattern.findall(start)) > lines:
            return dialect.delimiter != " "
    cells = [cell for row in rows[1:] or rows for cell in row[1:] if cell]
    spaced = [text for cell in cells if (text := cell.lstrip(INDENTS)) != cell]
    return len(spaced) > 0.9 * len(cells) and any(text.startswith(('"', "'")) for text in spaced)


def _width(rows: Sequence[Sequence[str]]) -> int:
    """The number of cells that most rows have."""
    return Counter(map(len, rows)).most_common(1)[0][0]


def _score(rows: Sequence[Sequence[str]], dialect: Dialect, sample: str, named: set[str]) -> float:
    """How well the rows agree on a number of columns above one, and whether the first has the names asked for."""
    width, agreeing = max(Counter(map(len, rows)).items(), key=lambda item: (item[0] > 1, item[1]))
    score = agreeing / len(rows) if width > 1 else 0.0
    # Quoted cells that swallow lines leave few rows: prefer the reading that keeps the lines apart.
    score += 0.2 * len(rows) / max(len(rows), min(ROWS, sample.count("\n")))
    if named and len(rows[0]) > 1 and named <= {header_name(cell) for cell in rows[0]}:
        score += 0.3
    if dialect.quoting != "none" and not _closes_quotes(sample, dialect):
        score -= 0.05
    if _doubles_quotes(sample, dialect) or _looks_quoted(rows, dialect, sample):
        score -= 0.1
    return score


def _doubles_quotes(sample: str, dialect: Dialect) -> bool:
    """Whether a dialect with \\" inside of quotes is wrong, as "" is there as often; an empty cell is none."""
    twice = 2 * dialect.quote
    doubled = sample.count(twice) - sum(sample.count(before + twice) for before in (dialect.delimiter, "\n", " "))
    return dialect.quoting.endswith("backslash") and sample.count("\\" + dialect.quote) <= max(doubled, 0)


def _closes_quotes(sample: str, dialect: Dialect) -> bool:
    """Whether a delimiter or the end of the line follows each quote that closes a cell."""
    reader = csv.reader(io.StringIO(sample.replace("\0", ""), newline=""), strict=True, **dialect.options())
    with suppress(csv.Error):
        for _ in islice(reader, ROWS):
            pass
        return True
    return False


def _looks_quoted(rows: Sequence[Sequence[str]], dialect: Dialect, sample: str) -> bool:
    """Whether cells have quotes around them still, although they were read; texts may end with a quote of their own."""
    cells = [cell for row in rows for cell in row]
    opened = sum(_opens(cell, '"', dialect) for cell in cells)
    closed = sum(len(cell.strip()) > 1 and cell.endswith('"') for cell in cells) if opened else 0
    own = {"double": 3 * '"', "backslash": "\\" + 2 * '"'}.get(dialect.quoting)
    closed -= sample.count(own) if own else 0
    if closed > 0.3 * max(opened, 1):
        return True
    for column in zip_longest(*(rows[1:] or rows), fillvalue=""):
        filled = [cell for cell in column if cell]
        quoted = sum(len(cell) > 1 and cell.endswith("'") and _opens(cell, "'", dialect) for cell in filled)
        if quoted > 0.9 * len(filled):  # an apostrophe may begin a cell, but not nearly each of a column
            return True
    return False


def _opens(cell: str, quote: str, dialect: Dialect) -> bool:
    """Whether a cell begins with a quote that the dialect did not take off."""
    taken = quote == dialect.quote and dialect.quoting != "none"
    text = cell.lstrip(INDENTS)
    return text.startswith(quote) and (not taken or text != cell)


def _has_header(rows: Sequence[Sequence[str]], columns: Sequence[Column], settings: TableSettings) -> bool:
    """Whether the first row names columns: ones that were asked for, or where they are counted, if it looks so.

    A row of data that is taken for a header would be lost without a word, so with counted columns a first row is one
    only if its category is no other row's and no known one, and if it is no number where all others are numbers, or a
    usual name, or stands beside a text that is short for the file.
    """
    if settings.header != "auto":
        return settings.header == "yes"
    first = [header_name(cell) for cell in rows[0]]
    if any(column.asked in first for column in columns if column.position is None):
        return True
    column = next((column for column in columns if column.categorical), None)
    index = column.place_in(first) if column else None
    if column is None or index is None:
        return False
    label = first[index]
    values = Counter(row[index].strip() for row in rows[1:] if len(row) > index)
    repeated = sum(count for count in values.values() if count > 1) > 0.5 * values.total()
    if not repeated or not label or label in values or label in column.known or _NUMBER.fullmatch(label):
        return False
    if label.casefold() in _CATEGORY_NAMES or all(_NUMBER.fullmatch(value) for value in values if value):
        return True
    places = [other.place_in(first) for other in columns if not other.categorical]
    return all(_is_short(place, rows) for place in places if place is not None)


def _is_short(index: int, rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first cell of a column looks like a name: up to three words, shorter than nine of ten cells below."""
    first, lengths = rows[0][index].strip(), sorted(len(row[index].strip()) for row in rows[1:] if len(row) > index)
    named = re.fullmatch(r"[^\W\d][\w.-]*( [\w.-]+){0,2}", first) is not None
    return named and len(first) < lengths[len(lengths) // 10]


def _trailing(rows: Sequence[Sequence[str]]) -> bool:
    """Whether most rows have more cells than the first, and all of these are empty."""
    width = len(rows[0])
    longer = sum(len(row) > width and not "".join(row[width:]).strip() for row in rows[1:])
    return 2 * longer > len(rows) - 1


def _has_row_names(rows: Sequence[Sequence[str]], sample: str, dialect: Dialect) -> bool:
    """Whether all rows have one cell more than the header, and the first is a name of a row, never there twice.

    Names are numbers counted from 0 or 1. R writes others too: where it quotes names, it quotes those of the columns as
    well, and where it quotes nothing, a part of a table keeps its numbers. What else stands there may be the text.
    """
    names = [row[0] for row in rows[1:] if len(row) == len(rows[0]) + 1]
    if not 0 < len(names) == len(rows) - 1 or len(set(names)) < len(names):
        return False
    numbers = [int(name) for name in names if _ROW_NUMBER.fullmatch(name)]
    all_numbers = len(numbers) == len(names)
    if all_numbers and numbers[0] in (0, 1) and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return True
    if dialect.quoting == "none" or dialect.quote not in sample:
        return all_numbers and numbers == sorted(numbers)
    lines = list(islice(io.StringIO(sample.lstrip("\r\n"), newline=""), ROWS))
    header = "".join(lines[: first_record(lines, **dialect.options())[1]])
    quoted = header.count(dialect.quote) >= 2 * len(rows[0]) and sample.count("\n" + dialect.quote) >= len(names)
    return quoted and all(_ROW_NAME.fullmatch(name) for name in names)
