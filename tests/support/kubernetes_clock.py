"""The time of the fake cluster, and what is due when."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Hashable
from datetime import UTC, datetime


class Clock:
    """Cluster time, in seconds since the start, and the actions to come.

    Args:
        factor: How much faster than the clock on the wall it runs; 0: it stands, and `advance` moves it.
        lock: Held while an action runs.

    Attributes:
        problem: The first error of an action, if there was one.
    """

    def __init__(self, factor: float, lock: threading.RLock) -> None:
        self.factor = factor
        self.problem: Exception | None = None
        self._lock, self._changed = lock, threading.Condition(lock)
        self._due: list[tuple[float, int, Hashable, Callable[[], object]]] = []
        self._waiting: set[Hashable] = set()
        self._numbers = itertools.count()
        self._now, self._began, self._ended = 0.0, time.monotonic(), False
        self._start = datetime.now(UTC).timestamp()

    def now(self) -> float:
        """Seconds since the start."""
        if self.factor:
            return max(self._now, (time.monotonic() - self._began) * self.factor)
        return self._now

    def stamp(self) -> str:
        """The time as objects have it, in whole seconds."""
        moment = datetime.fromtimestamp(self._start + self.now(), UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def after(self, seconds: float, action: Callable[[], object], key: Hashable = None) -> None:
        """Do something later; with a key that still waits, it is done once."""
        with self._lock:
            if key is not None and key in self._waiting:
                return
            self._waiting.add(key)
            heapq.heappush(self._due, (self.now() + seconds, next(self._numbers), key, action))
            self._changed.notify_all()

    def advance(self, seconds: float) -> None:
        """Let time pass, and do what is due on the way."""
        with self._lock:
            end = self.now() + seconds
            self._run_until(end)
            self._now = end

    def start(self) -> None:
        """Run in a thread, if it does not stand."""
        if self.factor:
            threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """End the thread; what is still due is not done."""
        with self._lock:
            self._ended = True
            self._changed.notify_all()

    def _run(self) -> None:
        with self._lock:
            while not self._ended:
                self._run_until(self.now())
                wait = (self._due[0][0] - self.now()) / self.factor if self._due else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)

    def _run_until(self, end: float) -> None:
        while self._due and self._due[0][0] <= end and not self._ended:
            due, _, key, action = heapq.heappop(self._due)
            self._waiting.discard(key)
            self._now = max(self._now, due)
            try:
                action()
            except Exception as error:
                if not self.factor:
                    raise
                self.problem = self.problem or error
