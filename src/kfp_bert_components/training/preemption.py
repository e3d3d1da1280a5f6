"""SIGTERM, the signal of a node that is about to go away, as a flag that the loop asks for."""

import signal
import threading
from types import FrameType, TracebackType


class Preempted(SystemExit):
    """The process was told to stop and has written a checkpoint; exits as a shell would after SIGTERM."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Sigterm:
    """While it is open, SIGTERM sets `received` instead of ending the process at once."""

    received = False

    def __enter__(self) -> "Sigterm":
        # Python lets only the main thread say what a signal does
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
