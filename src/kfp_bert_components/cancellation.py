"""Cancellation: SIGTERM as an exception, so that a process can undo or stop what it began."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Cancelled(BaseException):
    """The process got SIGTERM. No `except Exception` catches it."""


@contextmanager
def cancellable() -> Iterator[None]:
    """Raise `Cancelled` in the block on SIGTERM, the signal that a pod is cancelled with; exit with code 143 after it.

    The block can undo its work in `except BaseException` or `finally`; a second SIGTERM is ignored meanwhile. Outside
    of the main thread, which alone may handle signals, the block runs as if this were not here.

    Raises:
        SystemExit: With code 143, when `Cancelled` leaves the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def cancel(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Cancelled

    before = signal.signal(signal.SIGTERM, cancel)
    try:
        yield
    except Cancelled:
        raise SystemExit(143) from None
    finally:
        signal.signal(signal.SIGTERM, before)
