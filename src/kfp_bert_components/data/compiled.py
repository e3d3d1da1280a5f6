"""Loops over bytes and words as machine code, by Numba."""

from __future__ import annotations

from collections.abc import Callable

import numba
from numba.extending import intrinsic


def compiled(function: Callable) -> Callable:
    """Compile a function at its first call; other threads run while it does.

    What was compiled is kept for other processes where there is a folder to write to: beside the code, else the
    user's cache, else the one in NUMBA_CACHE_DIR.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # there is no such folder
        return numba.njit(nogil=True)(function)


def instruction(function: Callable) -> Callable:
    """Turn a function that writes LLVM's code, as `numba.extending.intrinsic` explains, into one to call in loops."""
    return intrinsic(function)


@compiled
def mix(value: int) -> int:
    """Spread the bits of a 64-bit number (the finalizer of MurmurHash3)."""
    value ^= value >> 33
    value *= 0xFF51AFD7ED558CCD
    value ^= value >> 33
    value *= 0xC4CEB9FE1A85EC53
    return value ^ value >> 33
