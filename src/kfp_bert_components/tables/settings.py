"""How tables are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kfp_bert_components.errors import UserError


@dataclass(frozen=True)
class Column:
    """A column that is wanted.

    Attributes:
        name: What it is called in the batches.
        asked: Its name in the files, or its position as "#1".
        parameter: The user's parameter that asks for it, for errors.
    """

    name: str
    asked: str
    parameter: str


@dataclass(frozen=True)
class TableSettings:
    """How the files of a source are read; "auto" means to find out for each file.

    Attributes:
        columns: The columns that are wanted.
        categories: Name of the one among them that has few different values; with columns asked for by position, it
            tells whether the first row is a header.
        file_format: auto, csv, tsv, jsonl or parquet.
        encoding: auto, or a codec of Python.
        delimiter: auto, or one character; "\\t" for a tab.
        header: auto, yes or no.
        quoting: auto, double, strict (double, and a cell may hold lines that look like rows), backslash or none.
        empty_files: Whether files without a row are passed over instead of refused.
        keep_damaged: Whether a row with too few or too many cells, or with bytes that are not UTF-8, is mended instead
            of counted as a fault.
    """

    columns: Sequence[Column]
    categories: str = ""
    file_format: str = "auto"
    encoding: str = "auto"
    delimiter: str = "auto"
    header: str = "auto"
    quoting: str = "auto"
    empty_files: bool = False
    keep_damaged: bool = False


def find_columns(
    wanted: Sequence[Column], there: Sequence[str], file: str, first: Sequence[str] = ()
) -> dict[str, int]:
    """The index of each wanted column in a file, by the column's name.

    Args:
        wanted: The columns.
        there: The names of the file's columns.
        file: The file's name, for errors.
        first: The file's first row, where `there` may be made up.

    Raises:
        UserError: The file has no such column, or several of that name.
    """
    return {column.name: _find(column, list(there), file, first) for column in wanted}


def _find(column: Column, there: list[str], file: str, first: Sequence[str]) -> int:
    asked, parameter = column.asked, column.parameter
    if there.count(asked) > 1:
        raise UserError(
            f"{file} has {there.count(asked)} columns named {asked!r}: give {parameter} a position such as '#2'."
        )
    if asked in there:
        return there.index(asked)
    if asked.startswith("#") and asked[1:].isdecimal():
        if 1 <= int(asked[1:]) <= len(there):
            return int(asked[1:]) - 1
        count = f"{len(there)} column{'s' * (len(there) != 1)}"
        raise UserError(f"{file} has {count}, so there is no {asked}: correct {parameter}.")
    shown = ", ".join(repr(name.strip()[:40]) for name in (first or there)[:10])
    its = f"its first row is {shown}" if first else f"it has {shown}"
    position = "#1" if parameter == "text_column" else "#2"
    raise UserError(
        f"{file} has no column {asked!r}: {its}; set {parameter} to the name of a column, or to its position such as "
        f"{position!r}."
    )
