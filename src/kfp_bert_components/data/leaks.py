"""Rows of one split that are in another one too, exactly or but for case, punctuation and spaces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from kfp_bert_components.data.ahead import ahead
from kfp_bert_components.data.assign import TEST, TRAIN, VALIDATION
from kfp_bert_components.data.gather import Rows
from kfp_bert_components.data.lookup import Lookup
from kfp_bert_components.data.near import MOST_PAIRS, NearIndex, Piles, similarity
from kfp_bert_components.data.texts import joined_text, read_texts
from kfp_bert_components.data.words import hash_words

EXACT, NORMALISED, NEAR = "exact", "normalised", "near"
# (split that loses the row, split that keeps it): the test set is never touched.
PAIRS = ((VALIDATION, TEST), (TRAIN, TEST), (TRAIN, VALIDATION))


@dataclass
class Leak:
    """Rows of one split that repeat rows of another.

    Attributes:
        kind: exact, normalised or near.
        loser: The split that the rows are in, and are taken out of.
        keeper: The split that they repeat.
        rows: Their numbers, int64 [n].
        twins: For each, one of the rows that it repeats, int64 [n].
    """

    kind: str
    loser: int
    keeper: int
    rows: np.ndarray = field(repr=False)
    twins: np.ndarray = field(repr=False)


def find_equal(exact: np.ndarray, normal: np.ndarray, inside: np.ndarray, split: np.ndarray) -> list[Leak]:
    """Find rows that another split repeats, exactly or normalised.

    Args:
        exact: Hash of each text.
        normal: Hash of its letters and digits.
        inside: Whether each row is still in.
        split: The split of each row.

    Returns:
        The leaks; a row is in one of them only.
    """
    leaks = []
    free = inside.copy()
    for loser, keeper in PAIRS:
        for kind, keys in ((EXACT, exact), (NORMALISED, normal)):
            rows = np.flatnonzero(free & (split == loser))
            kept = np.flatnonzero(inside & (split == keeper))
            lookup = Lookup(keys[kept], kept)
            twins = lookup.first(keys[rows])
            found = twins >= 0
            if found.any():
                leaks.append(Leak(kind, loser, keeper, rows[found], twins[found]))
                free[rows[found]] = False
    return leaks


def find_near(rows: Rows, inside: np.ndarray, split: np.ndarray, least: float) -> tuple[list[Leak], bool]:
    """Find rows that share most of their words with a row of another split.

    Args:
        rows: All rows.
        inside: Whether each row is still in; those of `find_equal` should not be.
        split: The split of each row.
        least: Least share of common words.

    Returns:
        The leaks, and whether all pairs could be compared.
    """
    index = NearIndex(Piles(least))
    for start, batch in _with_starts(rows):
        here = slice(start, start + batch.num_rows)
        mask = inside[here] & (split[here] != TRAIN)
        index.add(hash_words(joined_text(batch.filter(pa.array(mask)))), start + np.flatnonzero(mask))
    pairs = _candidates(rows, index, inside, split)
    near = _verified(rows, pairs[:MOST_PAIRS], least)
    leaks = []
    for loser, keeper in PAIRS:
        these = near[(split[near[:, 0]] == loser) & (split[near[:, 1]] == keeper)]
        if len(these):
            leaks.append(Leak(NEAR, loser, keeper, these[:, 0], these[:, 1]))
    return leaks, len(pairs) <= MOST_PAIRS


def _candidates(rows: Rows, index: NearIndex, inside: np.ndarray, split: np.ndarray) -> np.ndarray:
    """Pairs of a row and one of a split that has precedence, which share a key, int64 [pairs, 2]."""
    index.close()

    # A row gives way to the splits above its own, TRAIN < VALIDATION < TEST; one that is out has nothing to lose.
    rank = np.where(inside, split.astype(np.int8), TEST)

    def of_batch(item: tuple[int, pa.RecordBatch]) -> np.ndarray:
        start, batch = item
        near = batch.column("near")
        keys, starts = np.asarray(near.flatten()), np.asarray(near.offsets)
        return index.pairs(keys, starts, start, rank, rows.bitmaps, rows.words)

    parts = [pairs for _, pairs in ahead(of_batch, _with_starts(rows))]
    return np.concatenate([np.empty((0, 2), np.int64), *parts])


def _with_starts(rows: Rows) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The batches of the spool, each with the number of its first row."""
    start = 0
    for batch in rows.texts:
        yield start, batch
        start += batch.num_rows


def _verified(rows: Rows, pairs: np.ndarray, least: float) -> np.ndarray:
    """For each row the first pair that really shares so many words, int64 [rows, 2]."""
    texts = read_texts(rows.texts, np.unique(pairs))
    numbers = {number: place for place, number in enumerate(texts)}
    words = hash_words(pa.array(list(texts.values()), pa.string()))
    hashes, starts = words.hashes.tolist(), words.starts.tolist()
    found: dict[int, int] = {}
    for row, twin in pairs.tolist():
        if row not in found:
            a, b = numbers[row], numbers[twin]
            if similarity(hashes[starts[a] : starts[a + 1]], hashes[starts[b] : starts[b + 1]]) >= least:
                found[row] = twin
    return np.array(list(found.items()), np.int64).reshape(-1, 2)
