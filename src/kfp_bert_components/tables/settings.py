"""Which columns are wanted of tables, and how the tables are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from kfp_bert_components.errors import UserError
from kfp_bert_components.validation import checked_dataclass, one_of


@dataclass(frozen=True)
class Column:
    """A column that is wanted.

    Attributes:
        name: What it is called in the batches.
        asked: Its name in the files, or its position as "#1".
        parameter: The user's parameter that asks for it, for errors.
        categorical: Whether it has few different values: with columns asked for by position, it tells whether the first
            row is a header.
    """

    name: str
    asked: str
    parameter: str
    categorical: bool = False

    def index_in(self, columns: Sequence[str], file: str, first_row: Sequence[str] = ()) -> int:
        """Its index among the columns of a file, of which `first_row` is given where the names may be made up.

        Raises:
            UserError: The file has no such column, or several of that name.
        """
        asked, parameter, count = self.asked, self.parameter, columns.count(self.asked)
        if count > 1:
            raise UserError(f"{file} has {count} columns named {asked!r}: give {parameter} a position such as '#2'.")
        if count:
            return columns.index(asked)
        if asked.startswith("#") and asked[1:].isdecimal():
            if 1 <= int(asked[1:]) <= len(columns):
                return int(asked[1:]) - 1
            has = f"{len(columns)} column{'s' * (len(columns) != 1)}"
            raise UserError(f"{file} has {has}, so there is no {asked}: correct {parameter}.")
        shown = ", ".join(repr(name.strip()[:40]) for name in (first_row or columns)[:10])
        its = f"its first row is {shown}" if first_row else f"it has {shown}"
        position = "#1" if parameter == "text_column" else "#2"
        raise UserError(
            f"{file} has no column {asked!r}: {its}; set {parameter} to the name of a column, or to its position such "
            f"as {position!r}."
        )


@checked_dataclass
class TableSettings:
    """How the files of a source are read; "auto" means to find out for each file.

    Attributes:
        file_format: auto, csv, tsv, jsonl or parquet.
        encoding: auto, or a codec of Python such as "cp1252".
        delimiter: auto, or one character; "\\t" for a tab.
        header: auto, yes or no: whether the first row of each CSV file names the columns.
        quoting: auto, double ("" inside quotes), strict (double, and a cell may hold lines that look like rows),
            backslash (\\" inside quotes) or none.
        unreadable: Policy for rows that don't fit the table or its encoding: error and drop hand them on as faults,
            keep mends them; with drop and keep, files without a row are passed over.
    """

    file_format: Annotated[str, one_of("auto", "csv", "tsv", "jsonl", "parquet")] = "auto"
    encoding: str = "auto"
    delimiter: str = "auto"
    header: Annotated[str, one_of("auto", "yes", "no")] = "auto"
    quoting: Annotated[str, one_of("auto", "double", "strict", "backslash", "none")] = "auto"
    unreadable: Annotated[str, one_of("error", "drop", "keep")] = "error"
