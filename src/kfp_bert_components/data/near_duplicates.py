"""Near duplicates: texts that share most of their words.

Two texts with a and b words that share a part t of them (multiset Jaccard) differ in at most a (1 - t) / t words. So
if the words are put, by their hash, into more groups than that, at least one group is the same in both texts: its sum
is a key that both have ("PartEnum", Arasu, Ganti, Kaushik: Efficient exact set-similarity joins, VLDB 2006). Groups of
few words would bring too many texts together and are left out, and of the texts that share a key only some are compared
where they are many; one group more makes up for most of that. Pairs are compared word by word.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from kfp_bert_components.data.words import ODD, Words, compiled, mix

# Shorter texts are only compared whole.
LEAST_WORDS = 5
# More groups than this are not needed: long texts that share 80 % of their words share whole groups anyway.
_MOST_GROUPS = 24
# From so many words on a text has enough groups of two words and more, and does without those of one.
_MANY_WORDS = 16
# Of the texts that share a key so many are compared, from all over the data: a template may have more.
_MOST_OWNERS = 64


class _Texts(NamedTuple):
    """What texts are compared by."""

    words: np.ndarray  # hashes of their words, uint32 [words]
    starts: np.ndarray  # where the words of each start, and the end of the last, [texts + 1]
    bitmaps: np.ndarray  # from `_bitmaps`, uint64 [texts]
    ranks: np.ndarray  # int8 [texts]


class _Entries(NamedTuple):
    """Which texts have a key."""

    entries: np.ndarray  # keys whose lower bits are replaced by the number of a text that has it; sorted, uint64 [n]
    begin: np.ndarray  # where the entries with each value of the upper bits begin, and the end of the last, int32
    owner_bits: np.uint64  # bits that the number of a text takes
    shift: np.uint64  # bits below the upper ones


class NearIndex:
    """Finds, for other texts, one of these that is near.

    Args:
        texts: The words of the texts, in any number of parts.
        ranks: Of all these texts, int8 [n]: another text is compared with those of a higher rank than its own only.
        similarity: Least share of common words, 0.5 to 1.
    """

    def __init__(self, texts: Iterable[Words], ranks: np.ndarray, similarity: float) -> None:
        self._similarity = similarity
        words, starts, bitmaps = [np.empty(0, np.uint32)], [np.zeros(1, np.int64)], [np.empty(0, np.uint64)]
        entries = [np.empty(0, np.uint64)]
        owner_bits = np.uint64(max(1, len(ranks).bit_length()))
        first = 0
        for part in texts:
            words.append(_in_order(part))
            starts.append(starts[-1][-1] + part.starts[1:])
            bitmaps.append(_bitmaps(part.hashes, part.starts))
            numbers = np.arange(first, first + len(part.counts), dtype=np.uint64)
            first += len(numbers)
            for shift in (-1, 0, 1):
                keys, key_starts = _keys(part, part.counts >= LEAST_WORDS, similarity, shift)
                entries.append(keys >> owner_bits << owner_bits | np.repeat(numbers, np.diff(key_starts)))
        self._texts = _Texts(_joined(words), _joined(starts), _joined(bitmaps), ranks)
        every = _joined(entries)
        every.sort()
        bits = max(1, len(every).bit_length())
        self._entries = _Entries(every, _begins(every, bits), owner_bits, np.uint64(64 - bits))

    def find(self, words: Words, ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The texts that are near to one of the index, and for each the first one found, int64 [found] both.

        A text is asked for by its words and its rank, int8 [texts].
        """
        wanted = (words.counts >= LEAST_WORDS) & (ranks < self._texts.ranks.max(initial=-128))
        keys, key_starts = _keys(words, wanted, self._similarity, 0)
        places = _find_keys(keys, self._entries)
        asked = _Texts(words.hashes, words.starts, _bitmaps(words.hashes, words.starts), ranks)
        near = _first_near(asked, places, key_starts, self._texts, self._entries, self._similarity)
        found = np.flatnonzero(near >= 0)
        return found, near[found]


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """The parts as one array; the memory of the parts is freed."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole


def _keys(words: Words, wanted: np.ndarray, similarity: float, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """The keys of the groups of words, uint64 [k], and where those of each row start, and the end of the last.

    Numbers of words are put into size classes, each 1/t times the one before, so that similar texts are in the same or
    in neighbouring classes; `shift` -1, 0 or 1 groups the words as in the class below, their own, or the one above.
    """
    growth = 1 / min(similarity, 0.95)
    classes = np.floor(np.log(np.maximum(words.counts, 1)) / np.log(growth)).astype(np.int64) + shift
    differ = growth ** (classes + 1) * (1 - similarity) / similarity
    groups = np.minimum(differ.astype(np.int64) + 2, _MOST_GROUPS)
    return _group_keys(words.hashes, words.starts, classes, np.where(wanted, groups, 0))


def _in_order(words: Words) -> np.ndarray:
    """The hashes of the words, those of each row sorted, uint32 [words]."""
    rows = np.repeat(np.arange(len(words.counts), dtype=np.uint64), words.counts)
    return np.sort(rows << np.uint64(32) | words.hashes).astype(np.uint32)


@compiled
def _group_keys(
    hashes: np.ndarray, starts: np.ndarray, classes: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The key of each group that is large enough, and where those of each row start."""
    keys, key_starts = np.empty(groups.sum(), np.uint64), np.zeros(len(groups) + 1, np.int32)
    sums, sizes = np.empty(_MOST_GROUPS, np.uint64), np.empty(_MOST_GROUPS, np.int64)
    found = 0
    for row in range(len(groups)):
        number = groups[row]
        sums[:number] = 0
        sizes[:number] = 0
        for place in range(starts[row], starts[row + 1] if number else starts[row]):
            group = np.int64(np.uint64(hashes[place]) * np.uint64(number) >> np.uint64(32))
            sums[group] += mix(np.uint64(hashes[place]))
            sizes[group] += 1
        least = 1 if starts[row + 1] - starts[row] < _MANY_WORDS else 2
        for one in range(number):
            if sizes[one] >= least:
                keys[found] = mix(sums[one] + np.uint64(one * 64 + classes[row]) * ODD)
                found += 1
        key_starts[row + 1] = found
    return keys[:found].copy(), key_starts


@compiled
def _bitmaps(hashes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """64 bits a row, of which each word sets one: rows differ in as many words or more as in bits, uint64 [rows]."""
    bitmaps = np.zeros(len(starts) - 1, np.uint64)
    for row in range(len(bitmaps)):
        for place in range(starts[row], starts[row + 1]):
            bitmaps[row] |= np.uint64(1) << np.uint64(hashes[place] & 63)
    return bitmaps


@compiled
def _begins(entries: np.ndarray, bits: int) -> np.ndarray:
    """Where the entries with each value of their upper bits begin, and the end of the last, int32 [2 ** bits + 1]."""
    begin = np.zeros((1 << bits) + 1, np.int32)
    for entry in entries:
        begin[(entry >> np.uint64(64 - bits)) + np.uint64(1)] += 1
    for value in range(1 << bits):
        begin[value + 1] += begin[value]
    return begin


@compiled
def _find_keys(keys: np.ndarray, index: _Entries) -> np.ndarray:
    """Where the entries of each key begin, or -1, int32 [keys]."""
    places = np.empty(len(keys), np.int32)
    for number in range(len(keys)):
        key, upper = keys[number] >> index.owner_bits, keys[number] >> index.shift
        place, end = index.begin[upper], index.begin[upper + np.uint64(1)]
        while place < end and index.entries[place] >> index.owner_bits < key:
            place += 1
        places[number] = place if place < end and index.entries[place] >> index.owner_bits == key else -1
    return places


@compiled
def _end_of_key(index: _Entries, first: int) -> int:
    """Where the entries of a key end; `first` is where they begin."""
    key, low = index.entries[first] >> index.owner_bits, first
    high = min(first + _MOST_OWNERS, len(index.entries))
    if high == len(index.entries) or index.entries[high] >> index.owner_bits != key:
        while low < high and index.entries[low] >> index.owner_bits == key:
            low += 1
        return low
    low, high = high, int(index.begin[(index.entries[first] >> index.shift) + np.uint64(1)])
    while low < high:
        middle = (low + high) // 2
        if index.entries[middle] >> index.owner_bits == key:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _first_near(
    asked: _Texts, places: np.ndarray, key_starts: np.ndarray, texts: _Texts, index: _Entries, least: float
) -> np.ndarray:
    """For each text the first of the index that shares a key with it and is near to it, or -1."""
    near = np.full(len(asked.ranks), -1, np.int64)
    entries, owner_bits = index.entries, index.owner_bits
    for row in range(len(near)):
        own = asked.words[asked.starts[row] : asked.starts[row + 1]]
        most = len(own) * (1 - least) / least + 1e-6  # words that they may differ in
        for first in places[key_starts[row] : key_starts[row + 1]]:
            if first < 0:
                continue
            key = entries[first] >> owner_bits
            end = _end_of_key(index, first)
            for place in range(first, end, 1 + (end - first - 1) // _MOST_OWNERS):
                owner = np.int64(entries[place] - (key << owner_bits))
                if _ones(asked.bitmaps[row] ^ texts.bitmaps[owner]) > most or texts.ranks[owner] <= asked.ranks[row]:
                    continue
                if similarity(np.sort(own), texts.words[texts.starts[owner] : texts.starts[owner + 1]]) >= least:
                    near[row] = owner
                    break
            if near[row] >= 0:
                break
    return near


@compiled
def _ones(bits: int) -> int:
    """The number of bits that are set (Warren: Hacker's Delight, 5-1)."""
    bits -= bits >> 1 & 0x5555555555555555
    bits = (bits & 0x3333333333333333) + (bits >> 2 & 0x3333333333333333)
    bits = bits + (bits >> 4) & 0x0F0F0F0F0F0F0F0F
    return bits * 0x0101010101010101 >> 56


@compiled
def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Shared words over all words, both counted as often as they occur, 0 to 1; both by their sorted hashes."""
    shared = place = 0
    for word in one:
        while place < len(other) and other[place] < word:
            place += 1
        if place < len(other) and other[place] == word:
            shared += 1
            place += 1
    return shared / max(len(one) + len(other) - shared, 1)
