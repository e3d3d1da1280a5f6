"""How a CSV file is written: delimiter, quoting and header, found from a sample of its first rows."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.settings import TableSettings

DELIMITERS = ",\t;|"
ROWS = 2_000


@dataclass(frozen=True)
class Dialect:
    """How one CSV file is written.

    Attributes:
        delimiter: One character.
        quoting: double, strict, backslash or none.
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


def find_dialect(name: str, sample: str, whole: bool, settings: TableSettings) -> Dialect:
    """Find the dialect of a file.

    Args:
        name: The file's name; .tsv and .tab prefer a tab.
        sample: The decoded start of the file.
        whole: Whether the sample is all of it; otherwise its last line is cut off.
        settings: What the user has said about delimiter, quoting, header and columns.

    Raises:
        UserError: The file has no rows, or its given delimiter is not one character.
    """
    if not whole and "\n" in sample:
        sample = sample[: sample.rindex("\n") + 1]
    quotings = ("double", "backslash", "none") if settings.quoting == "auto" else (settings.quoting,)
    best: tuple[float, Dialect, list[list[str]]] | None = None
    for delimiter in _delimiters(name, settings):
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


def _delimiters(name: str, settings: TableSettings) -> str:
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


def _has_header(rows: Sequence[Sequence[str]], settings: TableSettings) -> bool:
    """Whether the first row names the columns.

    It does when it holds a name that was asked for, or when its category is one that no other row has.
    """
    if settings.header != "auto":
        return settings.header == "yes"
    first = [cell.strip() for cell in rows[0]]
    if any(column.asked in first for column in settings.columns if not column.asked.startswith("#")):
        return True
    asked = next((column.asked for column in settings.columns if column.name == settings.categories), "")
    if not (asked.startswith("#") and asked[1:].isdecimal()):
        return False
    index = int(asked[1:]) - 1
    values = Counter(row[index].strip() for row in rows[1:] if len(row) > index >= 0)
    repeated = sum(count for count in values.values() if count > 1) > 0.5 * values.total()
    return bool(values) and 0 <= index < len(first) and first[index] not in values and repeated
