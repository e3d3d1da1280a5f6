"""What stands above the table in a CSV file: Excel's line that names the delimiter, and titles."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.lines import with_spaces
from kfp_bert_components.tables.settings import Column, TableSettings, header_name

# Lines that are looked at for the one that names the columns.
_LINES = 100
_SEP = re.compile(r'"?sep=(\\t|[^\w"\r\n])\1*"?\s*', re.IGNORECASE)


def separator_line(sample: str) -> str:
    """The delimiter that a first line such as `sep=;` names, as Excel writes and reads it; "" where there is none."""
    found = _SEP.fullmatch(next(iter(io.StringIO(sample, newline="")), ""))
    return found[1].replace("\\t", "\t") if found else ""


def title_lines(name: str, sample: str, delimiters: str, columns: Sequence[Column], settings: TableSettings) -> int:
    """How many lines stand above the one that names the columns; 0 where none names all that are asked for.

    Raises:
        UserError: A line further down names the columns, but those above it look like rows.
    """
    asked = {column.asked for column in columns if column.position is None}
    lines = list(islice(io.StringIO(sample, newline=""), _LINES)) if asked and settings.header != "no" else []
    for index in range(len(lines)):
        for delimiter in delimiters:
            header = next((one for one in _headers(lines[index:], delimiter) if asked <= set(one)), None)
            if header:
                if index and _has_rows(lines[:index], header, sample, delimiter, columns):
                    missing = next(iter(sorted(asked - set(_cells(lines[0], delimiter)))), sorted(asked)[0])
                    raise UserError(
                        f"{name} has no column {missing!r} in its first row, but line {index + 1} has it: if the lines "
                        f"above it are no rows, set skip_rows to {index}, else remove that line."
                    )
                return index
    return 0


def lines_of_one_cell(sample: str, options: dict, padded: bool = False) -> int:
    """How many lines at the start have one cell at most, read with these arguments of Python's csv reader.

    With `padded`, empty cells beside it do not count: so spreadsheet programs write titles.
    """
    lines, titles = 0, False
    reader = csv.reader(io.StringIO(sample, newline=""), **options)
    with suppress(csv.Error):
        for row in reader:
            cells = [cell for cell in row if cell.strip()] if padded else row
            if len(cells) > 1:
                return lines if titles else 0
            lines, titles = reader.line_num, titles or bool(cells)
    return 0


def _has_rows(
    above: Sequence[str], header: Sequence[str], sample: str, delimiter: str, columns: Sequence[Column]
) -> bool:
    """Whether a line above the header has as many cells, and a category that rows below it or other such lines have."""
    place = next((column.place_in(header) for column in columns if column.categorical), None)
    if place is None:
        return False
    below = [_cells(line, delimiter) for line in islice(io.StringIO(sample, newline=""), len(above) + 1, 2_000)]
    categories = {cells[place] for cells in below if len(cells) == len(header)} - {""}
    rows = [cells for line in above if len(cells := _cells(line, delimiter)) == len(header)]
    found = [cells[place] for cells in rows if cells[place]]
    return len(set(found)) < len(found) or not categories.isdisjoint(found)


def first_record(lines: Sequence[str], **options: Any) -> tuple[list[str], int]:
    """The first record of some lines, of which a quoted cell may span several, and how many lines it has.

    Args:
        lines: With their ends.
        **options: Of Python's csv reader. With `strict`, there is no record where something follows a closing quote.
    """
    reader = csv.reader((line.replace("\0", "") for line in lines), **options)
    with suppress(csv.Error):
        return next(reader, []), reader.line_num
    return [], 0


def _headers(lines: Sequence[str], delimiter: str) -> Iterator[list[str]]:
    """The names in a header that may begin with the first of these lines: in it alone, or with quotes over several."""
    yield _cells(lines[0], delimiter)
    for quote in ('"', "'"):
        if lines[0].count(quote) % 2:
            spaced = [with_spaces(line, delimiter) for line in lines]
            cells, _ = first_record(spaced, delimiter=delimiter, quotechar=quote, skipinitialspace=True, strict=True)
            yield [header_name(cell) for cell in cells]


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of one line, whichever quotes are around them."""
    with suppress(csv.Error):
        text = with_spaces(line.replace("\0", ""), delimiter)
        cells = next(csv.reader([text], delimiter=delimiter, skipinitialspace=True), [])
        return [header_name(header_name(cell).strip("'")) for cell in cells]
    return []
