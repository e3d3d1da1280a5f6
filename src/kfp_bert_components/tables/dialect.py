"""How a CSV file is written: delimiter, quoting and header, found from a sample of its first rows."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.batches import LONGEST_CELL
from kfp_bert_components.tables.settings import Column, TableSettings

# Python's csv reader refuses longer cells. The limit holds for the whole process, so it is set once and for all.
csv.field_size_limit(2 * LONGEST_CELL)
DELIMITERS = ",\t;|"
# The arguments of Python's csv reader for each way of quoting.
QUOTINGS: dict[str, dict] = {
    "double": {"doublequote": True},
    "strict": {"doublequote": True},
    "backslash": {"doublequote": False, "escapechar": "\\"},
    "none": {"quoting": csv.QUOTE_NONE},
}
ROWS = 2_000


@dataclass(frozen=True)
class Dialect:
    """How one CSV file is written.

    Attributes:
        delimiter: One character.
        quoting: double, strict, backslash or none.
        header: Whether the first row names the columns.
        columns: The names of the columns; "#1", "#2" ... where there is no header.
        first_row: The first row.
        first_row_number: Its number in the file: blank lines may precede it.
    """

    delimiter: str
    quoting: str
    header: bool = False
    columns: tuple[str, ...] = ()
    first_row: tuple[str, ...] = ()
    first_row_number: int = 1

    def options(self) -> dict:
        """The arguments for Python's csv reader."""
        return {"delimiter": self.delimiter, **QUOTINGS[self.quoting]}


def find_dialect(name: str, sample: str, whole: bool, columns: Sequence[Column], settings: TableSettings) -> Dialect:
    """Find the dialect of a file.

    Args:
        name: The file's name; .tsv and .tab prefer a tab.
        sample: The decoded start of the file.
        whole: Whether the sample is all of it; otherwise its last line is cut off.
        columns: The columns that are wanted.
        settings: What the user has said about delimiter, quoting and header.

    Raises:
        UserError: The file has no rows, or its given delimiter is not one character.
    """
    if not whole and "\n" in sample:
        sample = sample[: sample.rindex("\n") + 1]
    quotings = ("double", "backslash", "none") if settings.quoting == "auto" else (settings.quoting,)
    dialects = [Dialect(delimiter, quoting) for delimiter in _delimiters(name, settings) for quoting in quotings]
    read = [(dialect, rows) for dialect in dialects if (rows := _sample_rows(sample, dialect))]
    if not read:
        raise UserError(f"{name} has no rows: remove the file, or write it again.")
    dialect, rows = max(read, key=lambda one: _score(one[1], one[0].quoting, sample))  # the first of the best
    header = _has_header(rows, columns, settings)
    width = len(rows[0]) if header else Counter(map(len, rows)).most_common(1)[0][0]
    names = [cell.strip() for cell in rows[0]] if header else [f"#{i + 1}" for i in range(width)]
    number = 1 + len(sample[: len(sample) - len(sample.lstrip("\r\n"))].replace("\r\n", "\n"))
    return replace(dialect, header=header, columns=tuple(names), first_row=tuple(rows[0]), first_row_number=number)


def _sample_rows(sample: str, dialect: Dialect) -> list[list[str]]:
    """The first rows of a sample in a dialect; blank lines are left out."""
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(sample.replace("\0", ""), newline=""), **dialect.options())
    with suppress(csv.Error):  # a cell that is too long or a stray carriage return: the rows before it tell enough
        rows.extend(islice(filter(None, reader), ROWS))
    return rows


def _delimiters(name: str, settings: TableSettings) -> str:
    if settings.delimiter != "auto":
        delimiter = settings.delimiter.replace("\\t", "\t")
        if len(delimiter) != 1 or delimiter in '\r\n"' or not delimiter.isascii():
            raise UserError(
                f"delimiter is {settings.delimiter!r}: it must be one ASCII character, such as ',' or '\\t'."
            )
        return delimiter
    if settings.file_format == "tsv":
        return "\t"
    stem = name.removesuffix(".gz").removesuffix(".zst").removesuffix(".bz2")
    return "\t,;|" if stem.endswith((".tsv", ".tab")) else DELIMITERS


def _score(rows: Sequence[Sequence[str]], quoting: str, sample: str) -> float:
    """How well the rows agree on a number of columns above one."""
    width, agreeing = max(Counter(map(len, rows)).items(), key=lambda item: (item[0] > 1, item[1]))
    score = agreeing / len(rows) if width > 1 else 0.0
    # Quoted cells that swallow lines leave few rows: prefer the reading that keeps the lines apart.
    score += 0.2 * len(rows) / max(len(rows), min(ROWS, sample.count("\n")))
    if (quoting == "backslash" and '\\"' not in sample) or (quoting == "none" and _looks_quoted(rows)):
        score -= 0.1
    return score


def _looks_quoted(rows: Sequence[Sequence[str]]) -> bool:
    """Whether cells look quoted although they were read without quoting."""
    opened = [cell for row in rows for cell in row if cell.startswith('"')]
    closed = sum(len(cell) > 1 and cell.endswith('"') for cell in opened)
    return closed > 0.3 * max(len(opened), 1)


def _has_header(rows: Sequence[Sequence[str]], columns: Sequence[Column], settings: TableSettings) -> bool:
    """Whether the first row holds a name that was asked for, or has a category that no other row has."""
    if settings.header != "auto":
        return settings.header == "yes"
    first = [cell.strip() for cell in rows[0]]
    if any(column.asked in first for column in columns if not column.asked.startswith("#")):
        return True
    asked = next((column.asked for column in columns if column.categorical), "")
    if not (asked.startswith("#") and asked[1:].isdecimal()):
        return False
    index = int(asked[1:]) - 1
    values = Counter(row[index].strip() for row in rows[1:] if len(row) > index >= 0)
    repeated = sum(count for count in values.values() if count > 1) > 0.5 * values.total()
    return bool(values) and 0 <= index < len(first) and first[index] not in values and repeated
