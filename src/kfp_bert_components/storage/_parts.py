"""Objects as parts to fetch: which comes next, which is tried again and when, and when all are done."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kfp_bert_components.storage._types import Entry

PART = 32 << 20  # larger objects are fetched in ranges of this size
FIRST_DELAY, LONGEST_DELAY = 0.25, 20.0


@dataclass
class Job:
    """One object on its way.

    Attributes:
        entry: The object.
        path: The file that it becomes.
        scratch: The file that it is until it is whole.
        name: Its name, quoted for an address.
        checksums: CRC-32C of each range that has come.
        left: Ranges that have not come.
        corrupt: How often wrong bytes came.
        file: Descriptor of `scratch` while ranges are written to it, else -1.
    """

    entry: Entry
    path: Path
    scratch: Path
    name: str
    checksums: list[int] = field(default_factory=list)
    left: int = 0
    corrupt: int = 0
    file: int = -1


@dataclass
class Part:
    """A range of an object, or all of it."""

    job: Job
    number: int
    start: int
    length: int
    tries: int = 0

    @property
    def whole(self) -> bool:
        """Whether it is all of its object."""
        return self.length == self.job.entry.size


class Parts:
    """What is not done yet, shared by threads.

    Attributes:
        left: Parts that are not done.
        failure: What ended the work for all, or None.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._condition = threading.Condition()
        self._ready = deque(part for job in jobs for part in _ranges(job))
        self._delayed: list[tuple[float, int, Part]] = []
        self._order = itertools.count()
        self.left = len(self._ready)
        self.failure: BaseException | None = None

    def take(self, *, wait: bool) -> Part | None:
        """The next part to ask for; None if there is none now (`wait`: if there will be none)."""
        with self._condition:
            while not self.failure:
                now = time.monotonic()
                if self._delayed and self._delayed[0][0] <= now:
                    return heapq.heappop(self._delayed)[2]
                if self._ready:
                    return self._ready.popleft()
                if not wait or not self.left:
                    return None
                self._condition.wait(self._delayed[0][0] - now if self._delayed else None)
        return None

    def again(self, part: Part, at_least: float = 0.0) -> None:
        """Try a part again, after a pause that grows with its tries and is `at_least` so many seconds."""
        pause = min(FIRST_DELAY * 2 ** max(part.tries - 1, 0), LONGEST_DELAY) * random.uniform(0.5, 1.0)
        with self._condition:
            due = time.monotonic() + max(at_least, pause)
            heapq.heappush(self._delayed, (due, next(self._order), part))
            self._condition.notify()

    def restart(self, job: Job) -> None:
        """Fetch all of an object again whose parts have all come."""
        parts = _ranges(job)
        with self._condition:
            self.left += len(parts)
        for part in parts:
            self.again(part)

    def came(self, part: Part, checksum: int) -> bool:
        """Keep the checksum of a range; whether it was the last one of its object."""
        with self._condition:
            part.job.checksums[part.number] = checksum
            part.job.left -= 1
            return part.job.left == 0

    def done(self) -> None:
        """One part less to do."""
        with self._condition:
            self.left -= 1
            if not self.left:
                self._condition.notify_all()

    def fail(self, error: BaseException) -> None:
        """End the work for all; the first error counts."""
        with self._condition:
            self.failure = self.failure or error
            self._condition.notify_all()


def spans(size: int) -> list[tuple[int, int]]:
    """Start and length of each range of an object."""
    return [(start, min(PART, size - start)) for start in range(0, size, PART)] or [(0, 0)]


def _ranges(job: Job) -> list[Part]:
    found = spans(job.entry.size)
    job.checksums, job.left = [0] * len(found), len(found)
    return [Part(job, number, start, length) for number, (start, length) in enumerate(found)]
