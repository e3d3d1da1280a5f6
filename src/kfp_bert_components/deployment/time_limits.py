"""Calls that must not take longer than a lease, whatever the storage does."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from kfp_bert_components.errors import UserError

T = TypeVar("T")

# Linux's monotonic clock stands still while the machine sleeps; this one does not.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds of a clock that only moves forward, also while the process is stopped or the machine sleeps."""
    return time.clock_gettime(_CLOCK)


def check_lease(lease_seconds: float) -> None:
    """UserError where a lease would be over at once, or never."""
    if not 0 < lease_seconds < math.inf:
        raise UserError(f"lease_seconds is {lease_seconds}: expected a number above 0, such as 60.")


def within(seconds: float, call: Callable[[], T], what: str) -> T:
    """The result of `call`, made in a thread of its own so that it can be given up.

    A call that is given up goes on in its thread and may still take effect.

    Args:
        seconds: Longest time to wait.
        call: What to call.
        what: What does not answer if it takes longer, as the beginning of a sentence.

    Raises:
        UserError: It took longer. Errors of the call itself are raised as they are.
    """
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=run, name="bounded-call", daemon=True).start()
    try:
        result, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise UserError(f"{what} did not answer within {seconds:g} s: try again later.") from None
    if error:
        raise error
    return result
