"""Cancellation: SIGTERM as an exception, so that a process can undo or stop what it began.

That is a fast way and no promise. On Kubeflow a process is killed 0.1 to 1.4 s after SIGTERM, and with it everything
that read what it prints. So what is to be done in that time is one request, sent before anything is printed; and what
must not go on without this process is also held in another way, such as by a lease (leases/).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Cancelled(BaseException):
    """The process got SIGTERM. No `except Exception` catches it."""


class _Held:
    """Whether a block of `uninterrupted` runs, and whether SIGTERM came in it."""

    active = came = False


@contextmanager
def cancellable() -> Iterator[None]:
    """Raise `Cancelled` in the block on SIGTERM, the signal that a pod is cancelled with; exit with code 143 after it.

    The block can begin to undo its work in `except BaseException` or `finally`; a second SIGTERM is ignored meanwhile.
    Outside of the main thread, which alone may handle signals, the block runs as if this were not here.

    Raises:
        SystemExit: With code 143, when `Cancelled` leaves the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def cancel(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not _Held.active:
            raise Cancelled
        _Held.came = True

    before = signal.signal(signal.SIGTERM, cancel)
    try:
        yield
    except Cancelled:
        raise SystemExit(143) from None
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let the block, which is in one of `cancellable`, end before `Cancelled` is raised.

    For a call whose answer says what there is to undo.
    """
    _Held.active, _Held.came = True, False
    try:
        yield
    finally:
        _Held.active = False
        if _Held.came:
            raise Cancelled
