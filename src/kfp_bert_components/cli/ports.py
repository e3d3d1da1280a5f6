"""Descriptions, inputs and outputs as lines to read."""

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any


def port_lines(ports: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Each input or output: name, type and default on a line, and below it what it means."""
    for one in ports:
        end = f" = {one['default']!r}" if "default" in one else ""
        if "default" not in one and "required" in one:
            end = " (required)" if one["required"] else " (optional)"
        yield f"  {one['name']}: {one['type']}{end}"
        yield from textwrap.wrap(one["description"], 100, initial_indent=" " * 6, subsequent_indent=" " * 6)


def first_sentence(description: str) -> str:
    """The first sentence of a description, on one line."""
    return re.split(r"(?<=\.) ", " ".join(description.split()), maxsplit=1)[0]
