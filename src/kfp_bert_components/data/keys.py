"""The hash of a text that makes its id, and what follows from it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

# Stands between the two texts of a pair where both are hashed as one.
PAIR_MARK = b"\x1e"
_HEX = np.frombuffer(b"".join(b"%02x" % c for c in range(256)), np.uint16)


def ids(keys: np.ndarray) -> pa.Array:
    """The keys as 16 hexadecimal digits each, string [n]."""
    digits = _HEX[keys.astype(">u8").view(np.uint8)]
    offsets = np.arange(0, 16 * (len(keys) + 1), 16, dtype=np.int32)
    return pa.StringArray.from_buffers(len(keys), pa.py_buffer(offsets), pa.py_buffer(digits))


def spread(keys: np.ndarray, salt: int) -> np.ndarray:
    """A number in [0, 1) for each key, float64 [n]: evenly spread, and independent for each salt (splitmix64)."""
    with np.errstate(over="ignore"):
        mixed = keys + np.uint64((0x9E3779B97F4A7C15 * (salt + 1)) % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) / 2**53
