"""SIGTERM, which a node that is taken away sends before: while training goes on, a flag looked at after each step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


class Preempted(SystemExit):
    """SIGTERM was received, and what was trained is in a checkpoint; the exit code is 143, as SIGTERM's always is."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Sigterm:
    """A context manager: inside it, SIGTERM raises `Preempted` wherever the process is, but for a block of `noted`.

    So exporting a model, or checking labels, ends at once: nothing of it would be gone on from. Outside of the main
    thread it does nothing, since Python lets only the main thread handle signals.

    Attributes:
        received: Whether SIGTERM was received.
    """

    received = False
    _noted = False

    def __enter__(self) -> "Sigterm":
        self._active = threading.current_thread() is threading.main_thread()
        if self._active:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._active:
            signal.signal(signal.SIGTERM, self._before)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Only set `received` in the block, which writes a checkpoint and raises `Preempted` itself; or raise it then.

        Raises:
            Preempted: SIGTERM was received.
        """
        self._noted = True
        try:
            yield
        finally:
            self._noted = False
        if self.received:
            raise Preempted

    def _note(self, number: int, frame: FrameType | None) -> None:
        first, self.received = not self.received, True
        if first and not self._noted:
            raise Preempted
