"""Which of a few keys many other keys are equal to."""

from __future__ import annotations

import numpy as np

from kfp_bert_components.data.compiled import compiled


class Lookup:
    """A hash table of keys and their owners, about one key a place; those of a place lie side by side.

    Args:
        keys: Well spread, uint64 [n]; a key may occur several times.
        owners: The number that each key belongs to, 0 or more, [n].

    Attributes:
        shift: The bits of a key above it are its place.
        starts: Where each place's keys start, and the end of the last, int32 [places + 1].
        keys: In the order of their places, uint64 [n].
        owners: Of `keys`, [n].
    """

    def __init__(self, keys: np.ndarray, owners: np.ndarray) -> None:
        bits = int(np.ceil(np.log2(len(keys) + 2)))
        self.shift = np.uint64(64 - bits)
        starts = np.zeros((1 << bits) + 2, np.int32)
        self.keys, self.owners = np.empty_like(keys), np.empty_like(owners)
        _fill(keys, owners, self.shift, starts, self.keys, self.owners)
        self.starts = starts[:-1]

    def first(self, keys: np.ndarray) -> np.ndarray:
        """The first owner of each key, int64 [m]; -1 for keys without one."""
        return _first(keys, self.shift, self.starts, self.keys, self.owners)


@compiled
def _fill(
    keys: np.ndarray, owners: np.ndarray, shift: int, starts: np.ndarray, table: np.ndarray, table_owners: np.ndarray
) -> None:
    """Sort by place, by counting; keys of one place keep their order."""
    # Counted two further on, a place's start moves on with each of its keys until it is the start of the next place.
    for key in keys:
        starts[(key >> shift) + np.uint64(2)] += 1
    for place in range(1, len(starts)):
        starts[place] += starts[place - 1]
    for index in range(len(keys)):
        place = (keys[index] >> shift) + np.uint64(1)
        table[starts[place]] = keys[index]
        table_owners[starts[place]] = owners[index]
        starts[place] += 1


@compiled
def _first(
    wanted: np.ndarray, shift: int, starts: np.ndarray, table: np.ndarray, table_owners: np.ndarray
) -> np.ndarray:
    found = np.full(len(wanted), -1, np.int64)
    for index in range(len(wanted)):
        place = wanted[index] >> shift
        for at in range(starts[place], starts[place + np.uint64(1)]):
            if table[at] == wanted[index]:
                found[index] = table_owners[at]
                break
    return found
