"""SIGTERM, which a node that is taken away sends before, as a flag that is looked at after each step."""

import signal
import threading
from types import FrameType, TracebackType


class Preempted(SystemExit):
    """SIGTERM was received and a checkpoint written; the exit code is 143, as of any process that SIGTERM ends."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Sigterm:
    """A context manager: inside it, SIGTERM sets `received` instead of ending the process.

    Outside of the main thread it does nothing, since Python lets only the main thread handle signals.

    Attributes:
        received: Whether SIGTERM was received.
    """

    received = False

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

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = True
