"""Records with one part changed: each value in turn is another one, or is gone."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from typing import Any

ALL = os.environ.get("KFP_BERT_DAMAGE") == "all"
GONE = object()
WRONG = (None, 5, "x", [], {}, GONE)


def some(value: Any, start: int, step: int = 200) -> list[tuple[str, Any]]:
    """What `damaged` makes of a record, of which by default one change in so many; KFP_BERT_DAMAGE=all: all of them.

    Args:
        value: The record.
        start: A number that is another one for each record.
        step: In how many changes.
    """
    made = [*damaged(value)]
    return made if ALL else made[start % len(made) :: step]


def damaged(value: Any) -> Iterator[tuple[str, Any]]:
    """The value with one part of it changed, for each part and each change; and what was changed."""
    for path in _paths(value):
        for wrong in WRONG:
            made = copy.deepcopy(value)
            inner = made
            for key in path[:-1]:
                inner = inner[key]
            if wrong is GONE:
                del inner[path[-1]]
            else:
                inner[path[-1]] = wrong
            yield f"{'.'.join(map(str, path))} {'is gone' if wrong is GONE else f'= {wrong!r}'}", made


def _paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*above, key)
        yield from _paths(value[key], (*above, key))
