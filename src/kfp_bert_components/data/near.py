"""Near duplicates: texts that share most of their words.

Two texts with a and b words that share a part t of them (multiset Jaccard) differ in at most a (1 - t) / t words. So
if the words are dealt, by their hash, into one pile more than that, at least one pile is the same in both texts: its
sum is a key that both have ("PartEnum", Arasu, Ganti, Kaushik: Efficient exact set-similarity joins, VLDB 2006). Piles
of one common word would bring too many texts together and are left out, so a pair right at the limit can be missed.
Every pair that a key brings together is then compared word by word.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from kfp_bert_components.data.lookup import Lookup
from kfp_bert_components.data.words import Words

# Shorter texts are only compared whole.
LEAST_WORDS = 5
# More piles than this are not needed: texts of hundreds of words that share 80 % of them share whole piles anyway.
_MOST_PILES = 24
_KEY = 2**34 - 1
_ONE = 2**44
# Texts of the test set that one key may bring up, and pairs that are compared in all.
_PER_KEY = 16
MOST_PAIRS = 1_000_000


@dataclass(frozen=True)
class Piles:
    """How many piles texts of a size are dealt into.

    Sizes are put into classes, each 1/t times the one before, so that similar texts are in the same or in
    neighbouring classes.

    Attributes:
        similarity: Least share t of common words, 0.5 to 1.
    """

    similarity: float

    def classes(self, counts: np.ndarray) -> np.ndarray:
        """The class of each size, int64 [n]; -1 for texts that are too short."""
        classes = np.floor(np.log(np.maximum(counts, 1)) / -np.log(min(self.similarity, 0.95))).astype(np.int64)
        return np.where(counts >= LEAST_WORDS, classes, -1)

    def number(self, classes: np.ndarray) -> np.ndarray:
        """The number of piles in each class, int64 [n]."""
        largest = min(self.similarity, 0.95) ** -(classes + 1.0)
        differ = largest * (1 - self.similarity) / self.similarity
        return np.clip(np.floor(differ).astype(np.int64) + 1, 1, _MOST_PILES)

    def keys(self, words: Words, shift: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The keys of the piles.

        Args:
            words: The words of some rows.
            shift: -1, 0 or 1: deal them as the class below, their own class, or the one above.

        Returns:
            Keys, uint64 [k], and the row of each, int64 [k], sorted by row.
        """
        counts = words.counts
        classes = self.classes(counts)
        long = classes >= 0
        piles = np.where(long, self.number(np.maximum(classes + shift, 0)), 0)
        first = np.concatenate([[0], np.cumsum(piles)])
        word_piles = np.repeat(piles, counts)
        dealt = word_piles > 0
        pile = ((words.hashes >> np.uint64(40)) * word_piles.astype(np.uint64) >> np.uint64(24)).astype(np.int64)
        pile += np.repeat(first[:-1], counts)
        hashes = words.hashes
        if not dealt.all():
            hashes, pile = hashes[dealt], pile[dealt]
        # One sum for both: 34 bits of key, and above them the number of words. It is exact as a float64 for piles
        # of up to 511 words.
        weights = (hashes & np.uint64(_KEY)).astype(np.float64)
        weights += _ONE
        sums = np.bincount(pile, weights=weights, minlength=first[-1]).astype(np.uint64)
        sizes = (sums // np.uint64(_ONE)).astype(np.int64)
        row = np.repeat(np.arange(len(counts)), piles)
        heavy = sizes >= np.where(counts[row] < 16, 2, 3)
        number = np.arange(first[-1]) - first[row]
        with np.errstate(over="ignore"):
            keys = sums * np.uint64(0x9E3779B97F4A7C15)
            keys ^= (number * 64 + classes[row] + shift).astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93)
        return keys[heavy], row[heavy]


class NearIndex:
    """Finds the texts of the kept splits that other texts may be near to.

    Args:
        piles: How words are dealt.
    """

    def __init__(self, piles: Piles) -> None:
        self.piles = piles
        self._keys: list[np.ndarray] = []
        self._owners: list[np.ndarray] = []
        self._lookup: Lookup | None = None

    def add(self, words: Words, owners: np.ndarray) -> None:
        """Take in texts of the kept splits, with a number for each, int64 [rows]."""
        for shift in (-1, 0, 1):
            keys, row = self.piles.keys(words, shift)
            self._keys.append(keys)
            self._owners.append(owners[row].astype(np.int32))

    def close(self) -> None:
        """Nothing more will be added."""
        self._lookup = Lookup(np.concatenate(self._keys), np.concatenate(self._owners))
        self._keys, self._owners = [], []

    def candidates(self, keys: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs that share a key: the number of a text, and of a kept one that it may be near to, int64 [pairs] each.

        Args:
            keys: Keys of texts, from `Piles.keys`.
            rows: The number of the text of each key.
        """
        if self._lookup is None:
            self.close()
        assert self._lookup is not None
        index, low, high = self._lookup.find(keys)
        found = np.minimum(high - low, _PER_KEY)
        offset = np.arange(found.sum()) - np.repeat(np.cumsum(found) - found, found)
        twins = self._lookup.owners[np.repeat(low, found) + offset]
        return np.repeat(rows[index], found), twins.astype(np.int64)


def may_be_near(
    rows: np.ndarray, twins: np.ndarray, bitmaps: np.ndarray, counts: np.ndarray, least: float
) -> np.ndarray:
    """Whether two texts can share so many words, by their bitmaps and sizes alone, bool [pairs].

    Args:
        rows: Numbers of texts, int64 [pairs].
        twins: Numbers of the other texts, int64 [pairs].
        bitmaps: Of all texts, from `Words.bitmaps`.
        counts: Number of words of all texts.
        least: Least share of common words.
    """
    differ = np.bitwise_count(bitmaps[rows] ^ bitmaps[twins]).sum(axis=1, dtype=np.int64)
    words = counts[rows].astype(np.int64) + counts[twins]
    # With s shared of a + b words, the share is s / (a + b - s), and a + b - 2 s words are in one text only.
    return differ * (1 + least) <= words * (1 - least) + 1e-6


def similarity(one: list[int], other: list[int]) -> float:
    """Shared words over all words, both counted as often as they occur, 0 to 1."""
    a, b = Counter(one), Counter(other)
    shared = sum((a & b).values())
    return shared / max(len(one) + len(other) - shared, 1)
