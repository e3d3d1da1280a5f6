"""Two models' predictions as a table of clusters by what they hold, and the studentised difference on it.

A cell is a distinct (truth, candidate, champion). A type is a distinct content of a cluster: how many of its rows are
in each cell. Clusters of one row have one type a cell, and copies of a text one for each cell and number of copies.
"""

import numpy as np
from scipy.sparse import csr_array, vstack

from kfp_bert_components.evaluation.count_metrics import CountMetric, Margins

# Clusters with rows in several cells are all of different types; if there are more, random groups of them are swapped
# together. Such groups are as independent as clusters are, and swaps of them are exact too.
MOST_MIXED = 1_024
# What rounding leaves of slopes that cancel out, as a share of the largest one.
_ROUNDING = 1e-12


class Table:
    """The clusters of a test set by type, with all types that swaps can make of them.

    Args:
        cells: Class numbers, int [3, cells]: truth, candidate's and champion's prediction.
        counts: Clusters of each type, [types].
        present: Classes to average over, bool [classes].
        types: Rows that a cluster of each type has in each cell, [types, cells]; None where all clusters
            are one row.

    Attributes:
        cells: How many cells the test set has.
        rows: How many rows it has.
        counts: Clusters of each type, those that swaps can make included.
        mirror: For each type that with the two predictions of all rows swapped, int [types].
    """

    def __init__(
        self, cells: np.ndarray, counts: np.ndarray, present: np.ndarray, types: csr_array | None = None
    ) -> None:
        own = np.arange(cells.shape[1])
        given = csr_array((np.ones(len(own)), (own, own))) if types is None else types
        every, places = np.unique(np.concatenate([cells, cells[[0, 2, 1]]], axis=1), axis=1, return_inverse=True)
        places = places.reshape(2, -1)
        rows, columns = given.nonzero()
        both = vstack(
            [csr_array((given.data, (rows, side[columns])), (given.shape[0], every.shape[1])) for side in places],
            format="csr",
        )
        first, same = _distinct(both)
        margins = [_margins(every[0], side, len(present)) for side in every[1:]]
        # Rows of a cluster of each type: of candidate and champion the three margins, [2 * 3 * classes, types].
        self._margins = (vstack(margins, format="csr") @ both[first].T).tocsr()
        self._influences = self._margins.T.tocsr()
        self.counts = np.bincount(same[: len(counts)], counts, len(first)).astype(np.int64)
        self.mirror = np.empty(len(first), np.int64)
        self.mirror[same] = np.roll(same, len(counts))
        self._present = present
        self.cells, self.rows = len(own), int(given.sum(1) @ counts)

    @property
    def differ(self) -> np.ndarray:
        """Types that a swap changes, bool [types]."""
        return self.mirror != np.arange(len(self.mirror))

    @property
    def width(self) -> int:
        """Numbers that one draw needs, to size what is drawn at once."""
        return max(len(self.counts), 6 * len(self._present))

    def gains(self, metric: CountMetric, counts: np.ndarray) -> np.ndarray:
        """What a cluster of each type adds to the difference (times the rows), [types]."""
        return self._measured(metric, counts[None])[1][0]

    def studentise(self, metric: CountMetric, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Difference and standard error for each row of `counts` [draws, types].

        The squared error is the sum over the clusters of the squared sum of their rows' influences.
        """
        value, influence, rows = self._measured(metric, counts)
        mean = (influence * counts).sum(-1) / rows
        square = (influence**2 * counts).sum(-1) / rows - mean**2
        return value, np.sqrt(np.maximum(square, 0) / rows)

    def _measured(self, metric: CountMetric, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Difference [draws], influence of a cluster of each type [draws, types] and rows [draws]."""
        sides = (self._margins @ counts.T).T.reshape(len(counts), 2, 3, -1)
        values, slopes = metric.both(Margins(*np.moveaxis(sides, 2, 0)), self._present)
        gains = (np.stack(slopes, axis=2) * np.array([1, -1])[:, None, None]).reshape(len(counts), -1)
        influence = (self._influences @ gains.T).T
        influence[np.abs(influence) < _ROUNDING * np.abs(gains).max(-1, keepdims=True)] = 0
        return values[:, 0] - values[:, 1], influence, sides[:, 0, 1].sum(-1)


def _margins(truth: np.ndarray, predicted: np.ndarray, classes: int) -> csr_array:
    """Which of the three margins of each class a row of each cell is part of, [3 * classes, cells]."""
    cells = np.arange(len(truth))
    right = cells[truth == predicted]
    places = np.concatenate([truth[right], classes + truth, 2 * classes + predicted])
    return csr_array((np.ones(len(places)), (places, np.concatenate([right, cells, cells]))), (3 * classes, len(cells)))


def types_of(
    truth: np.ndarray, one: np.ndarray, two: np.ndarray, clusters: np.ndarray
) -> tuple[np.ndarray, csr_array, np.ndarray]:
    """The types of clusters in the predictions of two models.

    Args:
        truth: Numbers of the true classes, int [rows].
        one: Numbers of the classes that the candidate predicts.
        two: Those that the champion predicts.
        clusters: Number of each row's cluster.

    Returns:
        The cells, int [3, cells]; the types [types, cells]; and the clusters of each type, [types].
    """
    many = int(max(truth.max(), one.max(), two.max())) + 1
    codes, cell = np.unique((truth * many + one) * many + two, return_inverse=True)
    pairs, rows = np.unique(clusters * len(codes) + cell, return_counts=True)
    cluster, cell = pairs // len(codes), pairs % len(codes)
    _, cluster, parts = np.unique(cluster, return_inverse=True, return_counts=True)
    pure = parts[cluster] == 1
    # Clusters with rows in one cell, by cell and number of rows; the others are types of their own.
    kinds, counts = np.unique(np.stack([cell[pure], rows[pure]]), axis=1, return_counts=True)
    _, mixed = np.unique(cluster[~pure], return_inverse=True)
    groups = int(mixed.max(initial=-1)) + 1
    if groups > MOST_MIXED:
        mixed, groups = (np.random.default_rng(0).permutation(groups) % MOST_MIXED)[mixed], MOST_MIXED
    number = np.concatenate([np.arange(kinds.shape[1]), kinds.shape[1] + mixed])
    places = number, np.concatenate([kinds[0], cell[~pure]])
    shape = kinds.shape[1] + groups, len(codes)
    types = csr_array((np.concatenate([kinds[1], rows[~pure]]).astype(np.float64), places), shape)
    cells = np.stack([codes // many**2, codes // many % many, codes % many])
    return cells, types, np.concatenate([counts, np.ones(groups, np.int64)])


def _distinct(types: csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Places of distinct types, and for each type its number among them; with rows in several cells all differ."""
    pure = np.diff(types.indptr) == 1
    keys = np.stack([~pure, np.arange(len(pure)), np.zeros(len(pure), np.int64)]).astype(np.int64)
    at = types.indptr[:-1][pure]
    keys[1, pure], keys[2, pure] = types.indices[at], types.data[at]
    _, first, same = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    return first, same.ravel()


def ratio(values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """values / errors; where the error is 0, infinity with the value's sign, or 0 for 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = values / errors
    return np.where(errors > 0, found, np.where(values == 0, 0.0, np.copysign(np.inf, values)))
