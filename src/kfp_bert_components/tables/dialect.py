"""How a CSV file is written: delimiter, quoting and header, found from a sample of its first rows."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.errors import UserError

DELIMITERS = ",\t;|"
ROWS = 2_000


@dataclass(frozen=True)
class Dialect:
    """The way of one CSV file.

    Attributes:
        delimiter: One character.
        quoting: double, backslash or none.
        header: Whether the first row names the columns.
        columns: The names of the columns; "#1", "#2" ... where there is no header.
        first: The first row.
    """

    delimiter: str
    quoting: str
    header: bool
    columns: tuple[str, ...]
    first: tuple[str, ...] = ()

    def options(self) -> dict:
        """The arguments for Python's csv reader."""
        if self.quoting == "none":
            return {"delimiter": self.delimiter, "quoting": csv.QUOTE_NONE}
        if self.quoting == "backslash":
            return {"delimiter": self.delimiter, "escapechar": "\\", "doublequote": False}
        return {"delimiter": self.delimiter, "doublequote": True}


def find_dialect(name: str, sample: str, whole: bool, settings: PrepareSettings) -> Dialect:
    """Find the dialect of a file.

    Args:
        name: The file's name; .tsv and .tab prefer a tab.
        sample: The decoded start of the file.
        whole: Whether the sample is all of it; otherwise its last line is cut off.
        settings: What the user has said about delimiter, quoting and header.

    Raises:
        UserError: The file has no rows, or its given delimiter is not one character.
    """
    if not whole and "\n" in sample:
        sample = sample[: sample.rindex("\n") + 1]
    delimiters = _delimiters(name, settings)
    quotings = ("double", "backslash", "none") if settings.quoting == "auto" else (settings.quoting,)
    best: tuple[float, Dialect, list[list[str]]] | None = None
    for delimiter in delimiters:
        for quoting in quotings:
            dialect = Dialect(delimiter, quoting, False, ())
            rows = sample_rows(sample, dialect)
            score = _score(rows, quoting, sample)
            if rows and (best is None or score > best[0]):
                best = (score, dialect, rows)
    if best is None:
        raise UserError(f"{name} has no rows: remove the file, or write it again.")
    _, dialect, rows = best
    header = _has_header(rows, settings)
    width = len(rows[0]) if header else Counter(map(len, rows)).most_common(1)[0][0]
    names = [cell.strip() for cell in rows[0]] if header else [f"#{i + 1}" for i in range(width)]
    return Dialect(dialect.delimiter, dialect.quoting, header, tuple(names), tuple(rows[0]))


def sample_rows(sample: str, dialect: Dialect) -> list[list[str]]:
    """The first rows of a sample in a dialect; blank lines are left out."""
    rows = []
    try:
        for row in csv.reader(io.StringIO(sample.replace("\0", ""), newline=""), **dialect.options()):
            if row:
                rows.append(row)
            if len(rows) == ROWS:
                break
    except csv.Error:
        pass  # a cell that is too long or a stray carriage return: the rows before it tell enough
    return rows


def _delimiters(name: str, settings: PrepareSettings) -> str:
    if settings.delimiter != "auto":
        delimiter = settings.delimiter.replace("\\t", "\t")
        if len(delimiter) != 1 or delimiter in '\r\n"':
            raise UserError(f"delimiter is {settings.delimiter!r}: it must be one character, such as ',' or '\\t'.")
        return delimiter
    if settings.file_format == "tsv":
        return "\t"
    stem = name.removesuffix(".gz").removesuffix(".zst").removesuffix(".bz2")
    return "\t,;|" if stem.endswith((".tsv", ".tab")) else DELIMITERS


def _score(rows: Sequence[Sequence[str]], quoting: str, sample: str) -> float:
    """How well the rows agree on a number of columns above one; ties go to the first that is tried."""
    if not rows:
        return 0.0
    width, agreeing = max(Counter(map(len, rows)).items(), key=lambda item: (item[0] > 1, item[1]))
    score = agreeing / len(rows) if width > 1 else 0.0
    # Quoted cells that swallow lines leave few rows: prefer the reading that keeps the lines apart.
    score += 0.2 * len(rows) / max(len(rows), min(ROWS, sample.count("\n")))
    if quoting == "backslash" and '\\"' not in sample:
        score -= 0.1
    if quoting == "none" and _quoted(rows):
        score -= 0.1
    return score


def _quoted(rows: Sequence[Sequence[str]]) -> bool:
    """Whether cells look quoted although they were read without quoting."""
    cells = [cell for row in rows for cell in row if cell]
    whole = sum(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells)
    open_ = sum(cell[0] == '"' for cell in cells)
    return whole > 0.3 * max(open_, 1)


def _has_header(rows: Sequence[Sequence[str]], settings: PrepareSettings) -> bool:
    """Whether the first row names the columns.

    It does when it holds a name that the settings ask for, or when its label is one that no other row has.
    """
    if settings.header != "auto":
        return settings.header == "yes"
    first = [cell.strip() for cell in rows[0]]
    asked = [
        settings.text_column,
        settings.label_column,
        settings.pair_column,
        settings.split_column,
        *settings.metadata_columns,
    ]
    if any(name in first for name in asked if name and not name.startswith("#")):
        return True
    position = settings.label_column.removeprefix("#")
    if not (settings.label_column.startswith("#") and position.isdigit()):
        return False
    index = int(position) - 1
    labels = Counter(row[index].strip() for row in rows[1:] if len(row) > index)
    repeated = sum(count for count in labels.values() if count > 1) > 0.5 * sum(labels.values())
    return bool(labels) and index < len(first) and first[index] not in labels and repeated


def find_column(asked: str, columns: Sequence[str], file: str, parameter: str, first: Sequence[str] = ()) -> int:
    """The index of a column that was asked for by name or as "#2".

    Raises:
        UserError: There is no such column, or more than one.
    """
    if asked in columns:
        if columns.count(asked) > 1:
            raise UserError(
                f"{file} has {columns.count(asked)} columns named {asked!r}: give {parameter} a position such as '#2'."
            )
        return list(columns).index(asked)
    if asked.startswith("#") and asked[1:].isdigit():
        index = int(asked[1:]) - 1
        if 0 <= index < len(columns):
            return index
        count = f"{len(columns)} column{'s' * (len(columns) != 1)}"
        raise UserError(f"{file} has {count}, so there is no {asked}: correct {parameter}.")
    shown = ", ".join(repr(name.strip()[:40]) for name in (first or columns)[:10])
    there = f"its first row is {shown}" if first else f"it has {shown}"
    position = "#1" if parameter == "text_column" else "#2"
    raise UserError(
        f"{file} has no column {asked!r}: {there}; set {parameter} to the name of a column, or to its position such "
        f"as {position!r}."
    )
