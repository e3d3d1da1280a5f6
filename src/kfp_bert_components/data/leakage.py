"""Rows of one split that are in another one too: exactly, but for case, punctuation and spaces, or nearly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from kfp_bert_components.data.assign import TEST, TRAIN, VALIDATION
from kfp_bert_components.data.near_duplicates import NearIndex
from kfp_bert_components.data.rows import Rows
from kfp_bert_components.data.words import Words
from kfp_bert_components.tables.arrow import to_arrow, to_numpy

EXACT, NORMALISED, NEAR = "exact", "normalised", "near"
# (split that the rows are taken out of, split that keeps them): the test set is never touched.
PAIRS = ((VALIDATION, TEST), (TRAIN, TEST), (TRAIN, VALIDATION))


@dataclass
class Leak:
    """Rows of one split that repeat rows of another.

    Attributes:
        kind: exact, normalised or near.
        split: The split that the rows are in.
        other: The split that they repeat.
        rows: Their indices, int64 [n].
        repeats: For each, the index of one of the rows that it repeats, int64 [n].
    """

    kind: str
    split: int
    other: int
    rows: np.ndarray = field(repr=False)
    repeats: np.ndarray = field(repr=False)


def find_leaks(rows: Rows, inside: np.ndarray, split: np.ndarray, near: float) -> list[Leak]:
    """Find rows that another split repeats, exactly, normalised or nearly.

    Args:
        rows: All rows.
        inside: Whether each row is still in, bool [rows].
        split: The split of each row, uint8 [rows].
        near: Least share of common words of near duplicates; 0 not to look for them.

    Returns:
        The leaks; a row is in one of them only.
    """
    leaks = []
    free = inside.copy()
    kinds = [
        (kind, keys, _perhaps_kept(keys, inside, split))
        for kind, keys in ((EXACT, rows.exact), (NORMALISED, rows.normal))
    ]
    for one, other in PAIRS:
        for kind, keys, perhaps in kinds:
            asking = np.flatnonzero(perhaps & free & (split == one))
            repeats = _first_equal(keys, asking, np.flatnonzero(inside & (split == other)))
            found = repeats >= 0
            if found.any():
                leaks.append(Leak(kind, one, other, asking[found], repeats[found]))
                free[asking[found]] = False
    return leaks + (_find_near(rows, free, split, near) if near else [])


def _perhaps_kept(keys: np.ndarray, inside: np.ndarray, split: np.ndarray) -> np.ndarray:
    """Whether validation or test may have the key of each row, bool [rows]: they have its upper bits."""
    known = np.zeros(1 << 24, bool)
    known[keys[inside & (split != TRAIN)] >> np.uint64(40)] = True
    return known[keys >> np.uint64(40)]


def _first_equal(keys: np.ndarray, asking: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each row that asks, the first of the others with the same key, or -1."""
    if not len(others):
        return np.full(len(asking), -1, np.int64)
    order = others[np.argsort(keys[others], kind="stable")]
    first = order[np.minimum(np.searchsorted(keys[order], keys[asking]), len(order) - 1)]
    return np.where(keys[first] == keys[asking], first, -1)


def _find_near(rows: Rows, free: np.ndarray, split: np.ndarray, least: float) -> list[Leak]:
    kept = np.flatnonzero(free & (split != TRAIN))
    ranks = split.astype(np.int8)  # TRAIN < VALIDATION < TEST: a row gives way to the splits above its own
    index = NearIndex((words for _, words in _words(rows, free & (split != TRAIN))), ranks[kept], least)
    found, repeats = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for asking, words in _words(rows, free & (split != TEST)):
        near, others = index.find(words, ranks[asking])
        found.append(asking[near])
        repeats.append(kept[others])
    near, others = np.concatenate(found), np.concatenate(repeats)
    leaks = []
    for one, other in PAIRS:
        these = (split[near] == one) & (split[others] == other)
        if these.any():
            leaks.append(Leak(NEAR, one, other, near[these], others[these]))
    return leaks


def _words(rows: Rows, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, Words]]:
    """The indices of the wanted rows, and their words, batch by batch."""
    for start, batch in rows.word_hashes:
        here = np.flatnonzero(wanted[start : start + batch.num_rows])
        if not len(here):
            continue
        words: pa.ListArray = batch["words"].take(to_arrow(here))
        yield start + here, Words(to_numpy(words.flatten()), to_numpy(words.offsets))
