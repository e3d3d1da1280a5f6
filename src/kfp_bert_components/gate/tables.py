"""Two models' predictions as a table of cells (truth, candidate, champion), and the studentised difference on it."""

import numpy as np
from scipy.sparse import csr_array

from kfp_bert_components.evaluation.count_metrics import CountMetric


class Side:
    """One model's predictions by cell.

    Args:
        truth: Number of the true class of each cell, int [cells].
        predicted: Number of the class that the model predicts, int [cells].
        classes: How many classes there are.
    """

    def __init__(self, truth: np.ndarray, predicted: np.ndarray, classes: int) -> None:
        self._place = truth * classes + predicted
        self._onto = csr_array(
            (np.ones(len(truth)), (self._place, np.arange(len(truth)))), (classes * classes, len(truth))
        )
        self._classes = classes

    def counts(self, sizes: np.ndarray) -> np.ndarray:
        """Confusion matrices [..., classes, classes] of the rows in each cell, [..., cells]."""
        return (self._onto @ sizes.T).T.reshape(*sizes.shape[:-1], self._classes, self._classes)

    def pick(self, slopes: np.ndarray) -> np.ndarray:
        """The element of a matrix [..., classes, classes] that each cell belongs to, [..., cells]."""
        return slopes.reshape(*slopes.shape[:-2], -1)[..., self._place]


def with_mirrors(cells: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add for each cell the one with the two predictions swapped, in sorted order."""
    every = np.concatenate([cells, cells[[0, 2, 1]]], axis=1)
    unique, places = np.unique(every, axis=1, return_inverse=True)
    return unique, np.bincount(places.ravel()[: cells.shape[1]], sizes, unique.shape[1]).astype(np.int64)


def mirror_of(cells: np.ndarray) -> np.ndarray:
    """For each cell the place of the one with the two predictions swapped, int [cells]."""
    numbers = {cell: i for i, cell in enumerate(map(tuple, cells.T.tolist()))}
    return np.array([numbers[truth, two, one] for truth, one, two in cells.T.tolist()])


def gains_of(metric: CountMetric, one: Side, two: Side, sizes: np.ndarray, present: np.ndarray) -> np.ndarray:
    """What a row of each cell adds to the difference, [cells]."""
    slopes = [metric.both(side.counts(sizes[None]), present)[1] for side in (one, two)]
    return (one.pick(slopes[0]) - two.pick(slopes[1]))[0]


def studentise(
    metric: CountMetric, one: Side, two: Side, sizes: np.ndarray, present: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Difference and standard error for each row of `sizes` [draws, cells]."""
    rows = sizes.sum(-1)
    first, first_slope = metric.both(one.counts(sizes), present)
    second, second_slope = metric.both(two.counts(sizes), present)
    influence = one.pick(first_slope) - two.pick(second_slope)
    mean = (influence * sizes).sum(-1) / rows
    square = (influence**2 * sizes).sum(-1) / rows - mean**2
    return first - second, np.sqrt(np.maximum(square, 0) / rows)


def ratio(values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """values / errors; where the error is 0, infinity with the value's sign, or 0 for 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = values / errors
    return np.where(errors > 0, found, np.where(values == 0, 0.0, np.copysign(np.inf, values)))
