"""Hashes of texts: what a row's id is made of, and which split it goes to."""

import numpy as np
import pyarrow as pa
from xxhash import xxh3_64_intdigest

# Stands between the two texts of a pair where both are hashed as one.
PAIR_MARK = "\x1e"


def hash_texts(texts: pa.Array) -> np.ndarray:
    """XXH3 (64 bits) of the UTF-8 bytes of each text, uint64 [n]."""
    return np.fromiter(map(xxh3_64_intdigest, texts.cast(pa.binary()).to_pylist()), np.uint64, len(texts))


def ids_of(hashes: np.ndarray) -> pa.Array:
    """The ids of rows: the hash of each text in 16 hexadecimal digits, string [n]."""
    digits = hashes.astype(">u8").tobytes().hex().encode()
    offsets = np.arange(0, 16 * (len(hashes) + 1), 16, dtype=np.int32)
    return pa.StringArray.from_buffers(len(hashes), pa.py_buffer(offsets), pa.py_buffer(digits))


def spread(hashes: np.ndarray, salt: int) -> np.ndarray:
    """A number in [0, 1) for each hash, float64 [n]: evenly spread, and independent for each salt (splitmix64)."""
    with np.errstate(over="ignore"):
        mixed = hashes + np.uint64((0x9E3779B97F4A7C15 * (salt + 1)) % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) / 2**53
