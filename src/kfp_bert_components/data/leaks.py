"""Rows of one split that are in another one too, exactly or but for case, punctuation and spaces."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kfp_bert_components.data.assign import TEST, TRAIN, VALIDATION

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
            order = kept[np.argsort(keys[kept], kind="stable")]
            if not len(order):
                continue
            place = np.searchsorted(keys[order], keys[rows]).clip(max=len(order) - 1)
            same = keys[order][place] == keys[rows]
            if same.any():
                leaks.append(Leak(kind, loser, keeper, rows[same], order[place[same]]))
                free[rows[same]] = False
    return leaks
