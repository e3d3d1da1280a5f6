"""Rows of one split that are in another one too, exactly or but for case, punctuation and spaces."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from kfp_bert_components.data.ahead import ahead
from kfp_bert_components.data.arrow import to_arrow, to_numpy
from kfp_bert_components.data.assign import TEST, TRAIN, VALIDATION
from kfp_bert_components.data.gather import Rows
from kfp_bert_components.data.lookup import Lookup
from kfp_bert_components.data.marks import Marks
from kfp_bert_components.data.near import NearIndex, Piles, Sketches
from kfp_bert_components.data.texts import joined_text
from kfp_bert_components.data.words import Words, hash_words

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


def find_leaks(rows: Rows, inside: np.ndarray, split: np.ndarray, least: float) -> list[Leak]:
    """Find rows that another split repeats, exactly, normalised or nearly.

    Args:
        rows: All rows.
        inside: Whether each row is still in.
        split: The split of each row.
        least: Least share of common words of near duplicates; 0 not to look for them.

    Returns:
        The leaks; a row is in one of them only.
    """
    if not least:
        return find_equal(rows.exact, rows.normal, inside, split)
    with ThreadPoolExecutor(1) as pool:
        # Rows that turn out to be equal to others ask for nothing, but to wait for that takes longer.
        wanted = pool.submit(_wanted, rows, inside & (split != TEST), Piles(least))
        leaks = find_equal(rows.exact, rows.normal, inside, split)
    free = inside.copy()
    for leak in leaks:
        free[leak.rows] = False
    return leaks + find_near(rows, free, split, least, wanted.result())


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
    kinds = [(kind, keys, _perhaps_kept(keys, inside, split)) for kind, keys in ((EXACT, exact), (NORMALISED, normal))]
    for loser, keeper in PAIRS:
        for kind, keys, perhaps in kinds:
            rows = np.flatnonzero(free & perhaps & (split == loser))
            kept = np.flatnonzero(inside & (split == keeper))
            lookup = Lookup(keys[kept], kept)
            twins = lookup.first(keys[rows])
            found = twins >= 0
            if found.any():
                leaks.append(Leak(kind, loser, keeper, rows[found], twins[found]))
                free[rows[found]] = False
    return leaks


def _perhaps_kept(keys: np.ndarray, inside: np.ndarray, split: np.ndarray) -> np.ndarray:
    """Whether validation or test have the key of each row, bool [rows]; now and then True where they have not."""
    kept = keys[inside & (split != TRAIN)]
    marks = Marks(len(kept))
    marks.add(kept)
    return marks.has(keys)


def find_near(rows: Rows, inside: np.ndarray, split: np.ndarray, least: float, wanted: Marks) -> list[Leak]:
    """Find rows that share most of their words with a row of another split.

    Args:
        rows: All rows.
        inside: Whether each row is still in; those of `find_equal` should not be.
        split: The split of each row.
        least: Least share of common words.
        wanted: The keys of those that are not of the test set.

    Returns:
        The leaks; a row is in one of them only.
    """
    # A row gives way to the splits above its own, TRAIN < VALIDATION < TEST; one that is out has nothing to lose.
    ranks = np.where(inside, split, TEST).astype(np.int8)
    index = _index(rows, inside & (split != TRAIN), ranks, Piles(least), wanted)

    def of_batch(item: tuple[int, pa.RecordBatch]) -> np.ndarray:
        start, batch = item
        return index.find(joined_text(batch), *_near_keys(batch), start)

    parts = [found for _, found in ahead(of_batch, rows.texts.numbered())]
    near = np.concatenate([np.empty((0, 2), np.int64), *parts])
    leaks = []
    for loser, keeper in PAIRS:
        these = near[(split[near[:, 0]] == loser) & (split[near[:, 1]] == keeper)]
        if len(these):
            leaks.append(Leak(NEAR, loser, keeper, these[:, 0], these[:, 1]))
    return leaks


def _index(rows: Rows, kept: np.ndarray, ranks: np.ndarray, piles: Piles, wanted: Marks) -> NearIndex:
    """The kept rows, for the others to be compared with."""
    index = NearIndex(piles, Sketches(ranks, rows.words, rows.bitmaps), np.flatnonzero(kept))

    def of_batch(item: tuple[int, pa.RecordBatch]) -> tuple[Words, np.ndarray, np.ndarray]:
        start, batch = item
        here = np.flatnonzero(kept[start : start + batch.num_rows])
        words = hash_words(joined_text(batch).take(to_arrow(here)))
        return words, *piles.neighbour_keys(words, wanted)

    for _, of_kept in ahead(of_batch, rows.texts.numbered()):
        index.add(*of_kept)
    index.close()
    return index


def _wanted(rows: Rows, asking: np.ndarray, piles: Piles) -> Marks:
    """The keys of the rows that are asking."""
    wanted = Marks(piles.most_keys(rows.words[asking]))
    for start, batch in rows.texts.numbered():
        keys, starts = _near_keys(batch)
        wanted.add_of(keys, starts, asking[start : start + batch.num_rows])
    return wanted


def _near_keys(batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
    """The keys of `Piles.keys` of a batch, and where those of each row start."""
    near = batch.column("near")
    return to_numpy(near.flatten()), to_numpy(near.offsets)
