"""A process that is told to end puts things back first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Cancelled(BaseException):
    """The process was told to end."""


@contextmanager
def cancellable() -> Iterator[None]:
    """SIGTERM, which is how a pod is cancelled, becomes an exception, so that traffic is given back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def cancel(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the way back is not interrupted
        raise Cancelled

    before = signal.signal(signal.SIGTERM, cancel)
    try:
        yield
    except Cancelled:
        raise SystemExit(143) from None
    finally:
        signal.signal(signal.SIGTERM, before)
