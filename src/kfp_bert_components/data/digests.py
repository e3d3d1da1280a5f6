"""What is kept in memory of each text, all of it in one pass over the words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from kfp_bert_components.data.arrow import bytes_of
from kfp_bert_components.data.compiled import compiled
from kfp_bert_components.data.near import MOST_PILES, Piles, deal
from kfp_bert_components.data.words import TABLE, fold, hash_row


class Digests(NamedTuple):
    """Of some texts.

    Attributes:
        counts: Words of each, int32 [texts].
        sequences: A hash of its words in their order, uint64 [texts]; 0 for a text without words.
        bitmaps: 128 bits a text, in which each word sets one, uint64 [texts, 2]. Two texts differ in at least as many
            words as their bitmaps differ in bits.
        keys: Of its piles, as `Piles.keys` makes them, uint64 [k].
        key_starts: Where the keys of each text start, and the end of the last, int32 [texts + 1].
    """

    counts: np.ndarray
    sequences: np.ndarray
    bitmaps: np.ndarray
    keys: np.ndarray
    key_starts: np.ndarray


def digest(texts: pa.Array, piles: Piles | None) -> Digests:
    """Go through some texts.

    Args:
        texts: Valid UTF-8 without nulls, string [texts].
        piles: How words are dealt, or None for no keys.
    """
    data, starts = bytes_of(fold(texts))
    most = int(np.diff(starts).max(initial=0)) // 2 + 1
    classes = piles.classes(np.arange(most + 1)) if piles else np.full(most + 1, -1)
    numbers = np.where(classes >= 0, piles.number(classes), 0) if piles else np.zeros(most + 1, np.int64)
    return Digests(*_digest(data, starts, TABLE, classes, numbers))


@compiled
def _digest(
    text: np.ndarray, offsets: np.ndarray, table: np.ndarray, classes: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The fields of Digests; the class and the number of piles are given for each number of words."""
    rows = len(offsets) - 1
    counts, sequences = np.empty(rows, np.int32), np.empty(rows, np.uint64)
    bitmaps = np.empty((rows, 2), np.uint64)
    keys, key_starts = np.empty(rows * numbers.max(), np.uint64), np.empty(rows + 1, np.int32)
    key_starts[0] = 0
    # Scratch space, for one row at a time.
    hashes = np.empty(len(classes), np.uint64)
    sums, sizes = np.empty(MOST_PILES, np.uint64), np.empty(MOST_PILES, np.int64)
    for row in range(rows):
        words, sequences[row] = hash_row(text, offsets[row], offsets[row + 1], table, hashes, 0)
        counts[row] = words
        low = high = np.uint64(0)
        for place in range(words):
            bit = np.uint64(1) << (hashes[place] & np.uint64(63))
            upper = np.uint64(0) - (hashes[place] >> np.uint64(6) & np.uint64(1))  # all bits or none
            low, high = low | bit & ~upper, high | bit & upper
        bitmaps[row, 0], bitmaps[row, 1] = low, high
        key_starts[row + 1] = deal(hashes, 0, words, classes[words], numbers[words], sums, sizes, keys, key_starts[row])
    return counts, sequences, bitmaps, keys[: key_starts[rows]].copy(), key_starts
