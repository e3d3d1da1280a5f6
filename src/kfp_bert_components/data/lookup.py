"""Which of a few keys many other keys are equal to."""

from __future__ import annotations

import numpy as np


class Lookup:
    """A sorted set of keys with their owners.

    Args:
        keys: uint64 [n]; a key may occur several times.
        owners: The number that each key belongs to, [n].
    """

    def __init__(self, keys: np.ndarray, owners: np.ndarray) -> None:
        order = np.argsort(keys)
        self.keys, self.owners = keys[order], owners[order]
        # A table of the keys' upper bits answers nearly all questions without a search.
        bits = int(np.clip(np.ceil(np.log2(len(keys) + 1)) + 4, 10, 27))
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, bool)
        self._table[self.keys >> self._shift] = True

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where keys are found.

        Args:
            keys: uint64 [m].

        Returns:
            Indices into `keys` of those that are there, and for each the range of its owners, as first and end.
        """
        maybe = np.flatnonzero(self._table[keys >> self._shift])
        maybe = maybe[np.argsort(keys[maybe])]  # in order, the search goes through the keys once
        low = np.searchsorted(self.keys, keys[maybe])
        high = np.searchsorted(self.keys, keys[maybe], side="right")
        there = high > low
        return maybe[there], low[there], high[there]
