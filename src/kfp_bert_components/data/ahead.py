"""Work on a stream of items, a few of them ahead of time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_THREADS = min(4, os.cpu_count() or 1)


def ahead(
    work: Callable[[Item], Result], items: Iterable[Item], most: int = _THREADS + 1
) -> Iterator[tuple[Item, Result]]:
    """Each item and the result of some work on it, in their order.

    The work runs in a few other threads, no more than there are processors. It should spend its time in code that lets
    other threads run, as NumPy and Arrow do.

    Args:
        work: What to do with each.
        items: Taken one by one.
        most: Items that are held at a time, so that a long stream does not pile up in memory.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) >= most:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()
