"""Near duplicates: texts that share most of their words.

Two texts with a and b words that share a part t of them (multiset Jaccard) differ in at most a (1 - t) / t words. So
if the words are dealt, by their hash, into one pile more than that, at least one pile is the same in both texts: its
sum is a key that both have ("PartEnum", Arasu, Ganti, Kaushik: Efficient exact set-similarity joins, VLDB 2006). Piles
of one word, and those that many texts have, would bring too many texts together and are left out, so a pair right at
the limit can be missed.
Every pair that a key brings together is then compared word by word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from kfp_bert_components.data.arrow import to_arrow
from kfp_bert_components.data.compiled import compiled, mix
from kfp_bert_components.data.lookup import Lookup
from kfp_bert_components.data.marks import Marks, marked
from kfp_bert_components.data.words import Words, hash_words

# Shorter texts are only compared whole.
LEAST_WORDS = 5
# More piles than this are not needed: texts of hundreds of words that share 80 % of them share whole piles anyway.
MOST_PILES = 24
_ODD = np.uint64(0x9E3779B97F4A7C15)
# Kept texts that may share a key.
_PER_KEY = 64


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
        return np.clip(np.floor(differ).astype(np.int64) + 1, 1, MOST_PILES)

    def most_keys(self, counts: np.ndarray) -> int:
        """The most keys that rows of so many words have together."""
        classes = self.classes(counts)
        return int(self.number(classes[classes >= 0]).sum())

    def keys(self, words: Words, shift: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The keys of the piles.

        Args:
            words: The words of some rows.
            shift: -1, 0 or 1: deal them as the class below, their own class, or the one above.

        Returns:
            Keys, uint64 [k], and where those of each row start, and the end of the last, int32 [rows + 1].
        """
        classes = self.classes(words.counts)
        piles = np.where(classes >= 0, self.number(np.maximum(classes + shift, 0)), 0)
        return _pile_keys(words.hashes, words.starts, classes + shift, piles)

    def neighbour_keys(self, words: Words, wanted: Marks) -> tuple[np.ndarray, np.ndarray]:
        """The keys of the piles as `keys` makes them of the class of each row and of those beside it.

        Args:
            words: The words of some rows.
            wanted: The keys that will be asked for; others are left out.

        Returns:
            Keys, uint64 [k], and the index of the row of each, int32 [k].
        """
        rows = np.arange(len(words.counts), dtype=np.int32)
        kept_keys, owners = [], []
        for shift in (-1, 0, 1):
            keys, starts = self.keys(words, shift)
            asked = np.flatnonzero(wanted.has(keys))
            kept_keys.append(keys[asked])
            owners.append(np.repeat(rows, np.diff(starts))[asked])
        return np.concatenate(kept_keys), np.concatenate(owners)


class Sketches(NamedTuple):
    """What is known of some texts without reading them.

    Attributes:
        ranks: A text is compared with those of a higher rank, int8 [texts].
        counts: Words of each, int32 [texts].
        bitmaps: From `digests.digest`, uint64 [texts, 2].
    """

    ranks: np.ndarray
    counts: np.ndarray
    bitmaps: np.ndarray

    def of(self, rows: np.ndarray | slice) -> Sketches:
        """Those of some of the texts."""
        return Sketches(self.ranks[rows], self.counts[rows], self.bitmaps[rows])


class NearIndex:
    """Finds the texts of the kept splits that other texts are near to.

    Args:
        piles: How words are dealt.
        sketches: Of all texts.
        rows: The numbers of the kept ones among them, sorted, int64 [kept].
    """

    def __init__(self, piles: Piles, sketches: Sketches, rows: np.ndarray) -> None:
        self.piles = piles
        self.sketches = sketches
        self.rows = rows
        self.kept = sketches.of(rows)
        self.starts = np.concatenate([[0], np.cumsum(self.kept.counts, dtype=np.int64)])
        self.words = np.empty(self.starts[-1], np.uint32)
        self._keys: list[np.ndarray] = []
        self._owners: list[np.ndarray] = []
        self._size = 0

    def add(self, words: Words, keys: np.ndarray, owners: np.ndarray) -> None:
        """Take in the next of the kept texts.

        Args:
            words: Of the texts.
            keys: From `Piles.neighbour_keys`, uint64 [keys].
            owners: Index of the text that each belongs to, int32 [keys].
        """
        self._keys.append(keys)
        self._owners.append(owners + np.int32(self._size))
        self.words[self.starts[self._size] : self.starts[self._size + len(words.counts)]] = _short(words.hashes)
        self._size += len(words.counts)

    def close(self) -> None:
        """Nothing more will be added."""
        keys = np.concatenate(self._keys)
        self.table = Lookup(keys, np.concatenate(self._owners))
        self.marks = Marks(len(keys))
        self.marks.add(keys)
        self.bitmaps = self.kept.bitmaps[self.table.owners]  # side by side for the texts that share a key
        self._keys, self._owners = [], []

    def find(self, texts: pa.Array, keys: np.ndarray, starts: np.ndarray, first: int) -> np.ndarray:
        """Texts that are near to a kept one of a higher rank.

        Args:
            texts: Some texts, string [texts].
            keys: Their keys, from `Piles.keys`, uint64 [keys].
            starts: Where the keys of each text start, and the end of the last, [texts + 1].
            first: Number of the first of these texts among all.

        Returns:
            Numbers of the text and of the first kept one that it is near to, int64 [found, 2].
        """
        table, least = self.table, self.piles.similarity
        sketches = self.sketches.of(slice(first, first + len(texts)))
        found, pairs = len(texts), np.empty((0, 2), np.int64)
        while len(pairs) < found:  # a second time where there are more than fit
            pairs = np.empty((found, 2), np.int64)
            found = _pairs(
                keys,
                starts,
                sketches,
                self.marks.shift,
                self.marks.bits,
                table.shift,
                table.starts,
                table.keys,
                table.owners,
                self.bitmaps,
                self.kept.ranks,
                least,
                pairs,
            )
        pairs = pairs[:found]
        rows, place = np.unique(pairs[:, 0], return_inverse=True)
        words = hash_words(texts.take(to_arrow(rows)))
        hashes = _short(words.hashes)
        near = pairs[_first_near(place, hashes, words.starts, pairs[:, 1], self.words, self.starts, least)]
        return np.stack([first + near[:, 0], self.rows[near[:, 1]]], axis=1)


def _short(hashes: np.ndarray) -> np.ndarray:
    """32 bits of each hash: enough to compare two texts by."""
    return (hashes >> np.uint64(32)).astype(np.uint32)


@compiled
def _pairs(
    keys: np.ndarray,
    starts: np.ndarray,
    texts: Sketches,
    mark_shift: int,
    marks: np.ndarray,
    shift: int,
    table_starts: np.ndarray,
    table: np.ndarray,
    owners: np.ndarray,
    bitmaps: np.ndarray,
    ranks: np.ndarray,
    least: float,
    pairs: np.ndarray,
) -> int:
    """The number of texts and kept texts that share a key and may share enough words; `pairs` gets their indices."""
    found = 0
    highest = ranks.max() if len(ranks) else 0
    for text in range(len(starts) - 1):
        rank = texts.ranks[text]
        # A text of n words and one that shares at least t of all words with it differ in at most n (1 - t) / t.
        most = texts.counts[text] * (1 - least) / least + 1e-6
        low, high = texts.bitmaps[text, 0], texts.bitmaps[text, 1]
        if rank >= highest:
            continue
        for index in range(starts[text], starts[text + 1]):
            key = keys[index]
            if not marked(key, mark_shift, marks):  # most keys end here, in little memory
                continue
            start, end = table_starts[key >> shift], table_starts[(key >> shift) + np.uint64(1)]
            if end - start > _PER_KEY:  # a pile that many texts have, such as "of" and "the", tells nothing
                continue
            # Unsigned, a place needs no check for being counted from the end.
            for at in range(np.uint64(start), np.uint64(end)):
                # Without branches that depend on memory, the processor looks at several texts at a time.
                close = _ones(low ^ bitmaps[at, 0]) + _ones(high ^ bitmaps[at, 1]) <= most
                if close & (table[at] == key) and rank < ranks[owners[at]]:
                    if found < len(pairs):
                        pairs[found, 0], pairs[found, 1] = text, owners[at]
                    found += 1
    return found


@compiled
def _ones(bits: int) -> int:
    """The number of bits that are set (Warren: Hacker's Delight, 5-1)."""
    bits -= bits >> 1 & 0x5555555555555555
    bits = (bits & 0x3333333333333333) + (bits >> 2 & 0x3333333333333333)
    bits = bits + (bits >> 4) & 0x0F0F0F0F0F0F0F0F
    return bits * 0x0101010101010101 >> 56


@compiled
def _pile_keys(
    hashes: np.ndarray, starts: np.ndarray, classes: np.ndarray, piles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The key of each pile that is large enough, and where those of each row start."""
    keys, key_starts = np.empty(piles.sum(), np.uint64), np.empty(len(piles) + 1, np.int32)
    sums, sizes = np.empty(MOST_PILES, np.uint64), np.empty(MOST_PILES, np.int64)
    key_starts[0] = 0
    for row in range(len(piles)):
        key_starts[row + 1] = deal(
            hashes, starts[row], starts[row + 1], classes[row], piles[row], sums, sizes, keys, key_starts[row]
        )
    return keys[: key_starts[len(piles)]], key_starts


@compiled
def deal(
    hashes: np.ndarray,
    start: int,
    end: int,
    size_class: int,
    number: int,
    sums: np.ndarray,
    sizes: np.ndarray,
    keys: np.ndarray,
    found: int,
) -> int:
    """Write the keys of a row's piles from the place `found` on; their end. `sums` and `sizes` are scratch space."""
    sums[:number] = 0
    sizes[:number] = 0
    for place in range(start, end if number else start):
        pile = np.int64((hashes[place] >> np.uint64(40)) * np.uint64(number) >> np.uint64(24))
        sums[pile] += hashes[place]
        sizes[pile] += 1
    least = 2 if end - start < 16 else 3
    for pile in range(number):
        if sizes[pile] >= least:
            keys[found] = mix(sums[pile] + np.uint64(pile * 64 + size_class) * _ODD)
            found += 1
    return found


@compiled
def _first_near(
    texts: np.ndarray,
    words: np.ndarray,
    starts: np.ndarray,
    kept: np.ndarray,
    kept_words: np.ndarray,
    kept_starts: np.ndarray,
    least: float,
) -> np.ndarray:
    """Indices of the first pair of each text that shares enough words; the pairs of a text follow each other."""
    pairs = np.empty(len(texts), np.int64)
    found, last = 0, -1
    for index in range(len(texts)):
        text, twin = texts[index], kept[index]
        if text != last and least <= similarity(
            words[starts[text] : starts[text + 1]], kept_words[kept_starts[twin] : kept_starts[twin + 1]]
        ):
            pairs[found], last = index, text
            found += 1
    return pairs[:found]


@compiled
def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Shared words over all words, both counted as often as they occur, 0 to 1, of hashes [words] each."""
    a, b = np.sort(one), np.sort(other)
    i = j = shared = 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            shared, i, j = shared + 1, i + 1, j + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return shared / max(len(a) + len(b) - shared, 1)
