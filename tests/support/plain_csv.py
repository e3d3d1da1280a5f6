"""A plain reader of CSV, character by character over the whole text: what the fast one must agree with."""

import re
from dataclasses import dataclass, field


@dataclass
class Read:
    """Numbers and cells of the rows that were read, and numbers of those that could not be."""

    rows: list[tuple[int, list[str]]] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)


def read_plainly(text: str, width: int, delimiter: str, strict: bool = False) -> Read:
    """All rows of a text whose quotes are doubled inside quotes."""
    lines = re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$", text)
    found = Read()
    number = start = 0
    while start < len(lines):
        number += 1
        cells, used = _record(lines[start:], delimiter)
        if not used or (not strict and any(_holds_rows(cell, width, delimiter) for cell in cells)):
            found.faults.append(number)  # the quote is a fault of its line only
            start += 1
            continue
        if cells == [""] and not lines[start].strip("\r\n"):
            cells = [""] * width
        if len(cells) != width or any("\0" in line for line in lines[start : start + used]):
            found.faults.append(number)
        else:
            found.rows.append((number, cells))
        start += used
    return found


def _record(lines: list[str], delimiter: str) -> tuple[list[str], int]:
    """The cells of the first row, and the number of its lines; 0 where a quote stays open, or is closed amid a cell."""
    cells, state, valid = [""], "start", True
    for used, line in enumerate(lines, 1):
        for place, c in enumerate(line):
            if state == "quoted":
                if c != '"':
                    cells[-1] += c
                else:
                    state = "closed"
            elif state == "closed" and c == '"' and line[place - 1] == '"':
                cells[-1] += c
                state = "quoted"
            elif c == delimiter:
                cells.append("")
                state = "start"
            elif c == '"' and state == "start":
                state = "quoted"
            elif c in "\r\n" and state != "quoted":
                continue  # the end of the line
            else:
                valid = valid and state != "closed"
                cells[-1] += c
                state = "plain"
        if state != "quoted":
            return cells, used if valid or used == 1 else 0
    return cells, 0


def _holds_rows(cell: str, width: int, delimiter: str) -> bool:
    run = 0
    for line in re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$", cell):
        cells, _ = _record([line.rstrip("\r\n")], delimiter)
        run = run + 1 if len(cells) == width and line.strip("\r\n") else 0
        if run >= 3:
            return True
    return False
