"""Rows of one split whose text is in another one too: exactly, but for case, punctuation and spaces, or nearly."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow.compute as pc

from kfp_bert_components.data.assign import SPLITS, TEST, TRAIN, VALIDATION
from kfp_bert_components.data.near_duplicates import NearIndex
from kfp_bert_components.data.rows import RowExample, Rows
from kfp_bert_components.tables.arrow import to_arrow, to_numpy

# SHORT: exact or normalised, and of so few words that it is there by chance. The others are leaks.
EXACT, NORMALISED, NEAR, SHORT = "exact", "normalised", "near", "short"
# (split that the rows are taken out of, split that keeps them): the test set is never touched.
PAIRS = ((VALIDATION, TEST), (TRAIN, TEST), (TRAIN, VALIDATION))
# Rows of each kind that are kept to be shown.
SHOWN = 100


@dataclass(frozen=True)
class Leak:
    """Rows of one split that repeat rows of another.

    Attributes:
        kind: exact, normalised, near or short.
        split: The split that the rows are in.
        other: The split that they repeat.
        rows: Their indices, int64 [n].
        examples: Some of the rows, each with one that it repeats.
    """

    kind: str
    split: str
    other: str
    rows: np.ndarray = field(repr=False)
    examples: list[tuple[RowExample, RowExample]] = field(repr=False)

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.rows)


def find_leaks(rows: Rows, inside: np.ndarray, split: np.ndarray, near: float, least_words: int) -> list[Leak]:
    """Find rows that another split repeats, exactly, normalised or nearly; a row is in one of the leaks only.

    Those with a short text are no leaks and are given with the kind SHORT.

    Args:
        rows: All rows.
        inside: Whether each row is still in, bool [rows].
        split: The split of each row, uint8 [rows].
        near: Least share of common words of near duplicates; 0 not to look for them.
        least_words: Words from which on a text is not short.
    """
    leaks = []
    free = inside.copy()
    for one, other in PAIRS:
        others, asking = np.flatnonzero(inside & (split == other)), np.flatnonzero(free & (split == one))
        asking = asking[_first_equal(rows.normal, asking, others) >= 0]  # the same text has the same words
        for kind, keys in ((SHORT, rows.normal), (EXACT, rows.exact), (NORMALISED, rows.normal)):
            first = _first_equal(keys, asking, others)
            found = (first >= 0) & ((rows.words[asking] < least_words) | (kind != SHORT))
            leaks.append(_leak(kind, one, other, rows, asking[found], first[found]))
            free[asking[found]] = False
            asking = asking[~found]
    if near:
        repeating, repeated = _find_near(rows, free & (rows.words >= least_words), split, near)
        for one, other in PAIRS:
            these = (split[repeating] == one) & (split[repeated] == other)
            leaks.append(_leak(NEAR, one, other, rows, repeating[these], repeated[these]))
    return [leak for leak in leaks if leak.count]


def _first_equal(keys: np.ndarray, asking: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each row that asks, the first of the others with the same key, or -1."""
    first = pc.index_in(to_arrow(keys[asking]), value_set=to_arrow(keys[others]))
    return np.append(others, -1)[np.where(to_numpy(first.is_valid()), to_numpy(first), -1)]


def _leak(kind: str, one: int, other: int, rows: Rows, repeating: np.ndarray, repeated: np.ndarray) -> Leak:
    pairs = zip(repeating[:SHOWN].tolist(), repeated[:SHOWN].tolist(), strict=True)
    examples = [(rows.example(first), rows.example(second)) for first, second in pairs]
    return Leak(kind, SPLITS[one], SPLITS[other], repeating, examples)


def _find_near(rows: Rows, free: np.ndarray, split: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """The rows that are near to one of another split, and that one, int64 [n] both."""
    kept = free & (split != TRAIN)
    # TRAIN < VALIDATION < TEST: a row gives way to the splits above its own; nothing is asked for rows that are out.
    ranks = np.where(free, split, TEST).astype(np.int8)
    index = NearIndex((words for _, words in rows.read_words(kept)), ranks[kept], least)
    numbers = np.flatnonzero(kept)
    repeating, repeated = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for asking, words in rows.read_words():
        near, others = index.find(words, ranks[asking])
        repeating.append(asking[near])
        repeated.append(numbers[others])
    return np.concatenate(repeating), np.concatenate(repeated)
