"""Keys that have been seen, held in a few bits each."""

from __future__ import annotations

import numpy as np

from kfp_bert_components.data.compiled import compiled


class Marks:
    """A set that has every key that was added, and now and then one that was not (a Bloom filter of one hash).

    Args:
        size: The most keys that it will hold; at that size it wrongly has one in eight or fewer of other keys.

    Attributes:
        shift: The bits of a key above it are its place.
        bits: 64 places each, uint64 [n].
    """

    def __init__(self, size: int) -> None:
        bits = max(6, int(np.ceil(np.log2(8 * size + 1))))
        self.shift = np.uint64(64 - bits)
        self.bits = np.zeros(1 << (bits - 6), np.uint64)

    def add(self, keys: np.ndarray) -> np.ndarray:
        """Add keys, well spread, uint64 [n]; whether the set had each before, bool [n]."""
        return _add(keys, self.shift, self.bits)

    def add_of(self, keys: np.ndarray, starts: np.ndarray, rows: np.ndarray) -> None:
        """Add the keys of some rows.

        Args:
            keys: Of all rows, well spread, uint64 [n].
            starts: Where those of each row start, and the end of the last, int32 [rows + 1].
            rows: Whether each row's are added, bool [rows].
        """
        _add_of(keys, starts, rows, self.shift, self.bits)

    def has(self, keys: np.ndarray) -> np.ndarray:
        """Whether the set has each key, bool [n]."""
        return _has(keys, self.shift, self.bits)


@compiled
def marked(key: int, shift: int, bits: np.ndarray) -> int:
    """1 where a set has the key, else 0."""
    place = key >> shift
    return bits[place >> np.uint64(6)] >> (place & np.uint64(63)) & np.uint64(1)


@compiled
def _add(keys: np.ndarray, shift: int, bits: np.ndarray) -> np.ndarray:
    had = np.empty(len(keys), np.bool_)
    for index in range(len(keys)):
        place = keys[index] >> shift
        bit = np.uint64(1) << (place & np.uint64(63))
        had[index] = bits[place >> np.uint64(6)] & bit
        bits[place >> np.uint64(6)] |= bit
    return had


@compiled
def _add_of(keys: np.ndarray, starts: np.ndarray, rows: np.ndarray, shift: int, bits: np.ndarray) -> None:
    for row in range(len(rows)):
        for index in range(starts[row], starts[row + 1] if rows[row] else starts[row]):
            place = keys[index] >> shift
            bits[place >> np.uint64(6)] |= np.uint64(1) << (place & np.uint64(63))


@compiled
def _has(keys: np.ndarray, shift: int, bits: np.ndarray) -> np.ndarray:
    has = np.empty(len(keys), np.bool_)
    for index in range(len(keys)):
        has[index] = marked(keys[index], shift, bits)
    return has
