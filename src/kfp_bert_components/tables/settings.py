"""Which columns are wanted of tables, and how the tables are read."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from kfp_bert_components.errors import UserError
from kfp_bert_components.plain import stripped
from kfp_bert_components.validation import checked_dataclass, one_of

# What the names of a file's own columns begin with in the batches.
OWN = "own:"


@dataclass(frozen=True)
class Column:
    """A column that is wanted.

    Attributes:
        name: What it is called in the batches.
        asked: Its name in the files, in Unicode form NFC, or its position as "#1".
        parameter: The user's parameter that asks for it, for errors.
        categorical: Whether it has few different values: with columns asked for by position, it tells whether the first
            row is a header.
        known: Of a categorical column, values that it is known to have.
        shared: Whether it may be a column that another one asks for too.
        quoted: Whether errors may quote the first row of a file, which may be a text.
        own: Whether its cells are handed on as they are: with their type in Parquet, lists and objects of JSON as JSON.
    """

    name: str
    asked: str
    parameter: str
    categorical: bool = False
    known: frozenset[str] = frozenset()
    shared: bool = False
    quoted: bool = True
    own: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "asked", nfc(self.asked))

    @property
    def position(self) -> int | None:
        """The index that was asked for by "#1", "#2" ...; None where it was a name."""
        return int(self.asked[1:]) - 1 if re.fullmatch("#[0-9]+", self.asked) else None

    def place_in(self, cells: Sequence[str]) -> int | None:
        """Its index among the cells of a header, or None where they do not have it."""
        names = [nfc(cell) for cell in cells]
        if self.asked in names:
            return names.index(self.asked)
        place = self.position
        return place if place is not None and 0 <= place < len(cells) else None

    def index_in(self, columns: Sequence[str], file: str, first_row: Sequence[str] = ()) -> int:
        """Its index among the columns of a file, of which `first_row` is given where the names may be made up.

        Raises:
            UserError: The file has no such column, or several of that name.
        """
        columns = [nfc(name) for name in columns]
        asked, parameter, count = self.asked, self.parameter, columns.count(self.asked)
        if count > 1:
            raise UserError(f"{file} has {count} columns named {asked!r}: give {parameter} a position such as '#2'.")
        if count:
            return columns.index(asked)
        if self.position is not None:
            if 0 <= self.position < len(columns):
                return self.position
            has = f"{len(columns)} column{'s' * (len(columns) != 1)}"
            raise UserError(f"{file} has {has}, so there is no {asked}: correct {parameter}.")
        shown = ", ".join(repr(name.strip()[:40]) for name in (first_row or columns)[:10])
        its = f"its first row is {shown}" if first_row else f"it has {shown}"
        if first_row and not self.quoted:
            its = f"its first row (cells: {len(first_row)}) is not shown, as keep_texts is 'ids'"
        raise UserError(f"{file} has no column {asked!r}: {its}; {self._advice(first_row)}.")

    def _advice(self, first_row: Sequence[str]) -> str:
        """What to do where a file with this first row does not have the column."""
        line = first_row[0].lstrip() if len(first_row) == 1 else ""
        if re.match(r"<(html|!doctype|\?xml|table)", first_row[0].lstrip() if first_row else "", re.IGNORECASE):
            return "it looks like a web page or XML and not like a table: save it as CSV, JSONL or Parquet"
        if self.asked in line.replace('"', " ").split():
            return "if spaces part its cells, set delimiter to ' '"
        if self.asked in line:
            return "if another character parts its cells, set delimiter to it"
        position = "#1" if self.parameter == "text_column" else "#2"
        return f"set {self.parameter} to the name of a column, or to its position such as {position!r}"


def nfc(name: str) -> str:
    """A name in Unicode form NFC: those of a Mac are in another one, but look the same."""
    return unicodedata.normalize("NFC", name)


def header_name(cell: str) -> str:
    """The name that a cell of a CSV header has: in Unicode form NFC, without blanks at its ends."""
    return stripped(nfc(cell))


def find_columns(
    wanted: Sequence[Column], columns: Sequence[str], file: str, first_row: Sequence[str] = ()
) -> dict[str, int]:
    """The index of each wanted column among those of a file, by the name that it has in the batches.

    Raises:
        UserError: The file lacks one or has several of its name, or two that must differ are the same.
    """
    found: dict[str, int] = {}
    owners: dict[int, Column] = {}
    for column in wanted:
        index = found[column.name] = column.index_in(columns, file, first_row)
        if not column.shared and (other := owners.setdefault(index, column)) is not column:
            raise UserError(
                f"{other.parameter} {other.asked!r} and {column.parameter} {column.asked!r} are the same column of "
                f"{file}: give two different ones."
            )
    return found


def own_column(name: str) -> Column:
    """One of all columns that a file has, under the name that it has in the batches then."""
    return Column(OWN + name, name, "the table", shared=True, own=True)


def own_names(columns: Sequence[str]) -> list[str]:
    """What all columns of a file are called, each another name.

    Those without a name, or with the name of another, are called by their position, such as "#3"; "##3" where that is
    the name of another.
    """
    columns = [nfc(name) for name in columns]
    names: list[str] = []
    for index, name in enumerate(columns, 1):
        if not name or columns.count(name) > 1:
            name = f"#{index}"
            while name in columns:
                name = f"#{name}"
        names.append(name)
    return names


def own_note(columns: Sequence[str], names: Sequence[str]) -> str:
    """What a reader should know of the names of `own_names`, or ""."""
    given = [repr(name) for column, name in zip(columns, names, strict=True) if name != nfc(column)]
    them = f"columns without a name of their own are called {', '.join(given[:10])}"
    return f"{them} and so on" if len(given) > 10 else them if given else ""


@checked_dataclass
class TableSettings:
    """How the files of a source are read; "auto" means to find out for each file.

    Attributes:
        file_format: auto, csv, tsv, jsonl (JSON of any kind) or parquet.
        encoding: auto, or a codec of Python such as "cp1252".
        delimiter: auto, or one character; "\\t" for a tab.
        skip_rows: Lines at the start of each CSV file that are no part of the table. With 0, lines above the one that
            names the columns are found out.
        header: auto, yes or no: whether the first row of each CSV file names the columns.
        quoting: auto, double ("" inside quotes), strict (double, and a cell may hold lines that look like rows),
            backslash (\\" inside quotes), single (\'\' inside '), single-backslash or none.
        unreadable: Policy for rows that don't fit the table or its encoding: error and drop hand them on as faults.
            keep mends those that it can: cells too many are cut, lacking ones are empty, and U+FFFD stands for bytes
            that can't be read. With drop and keep, files without a row are passed over.
    """

    file_format: Annotated[str, one_of("auto", "csv", "tsv", "jsonl", "parquet")] = "auto"
    encoding: str = "auto"
    delimiter: str = "auto"
    skip_rows: Annotated[int, Field(ge=0)] = 0
    header: Annotated[str, one_of("auto", "yes", "no")] = "auto"
    quoting: Annotated[str, one_of("auto", "double", "strict", "backslash", "single", "single-backslash", "none")] = (
        "auto"
    )
    unreadable: Annotated[str, one_of("error", "drop", "keep")] = "error"
