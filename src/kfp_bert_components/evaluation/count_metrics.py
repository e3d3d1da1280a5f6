"""Metrics that are functions of the confusion matrix, each with its slope: add a metric here.

A slope says how the metric moves when one row more falls into a cell of the matrix: the infinitesimal jackknife
(Efron 1982, The Jackknife, the Bootstrap and Other Resampling Plans, chapter 6) makes standard errors of it.
Averages over classes are over the classes that the test set has (`present`): a class without a row has no recall.

A metric that is added to COUNT_METRICS is measured, with an interval, by every evaluation, is shown on the pages, and
may be the primary metric or have a threshold in a policy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

Table = np.ndarray


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> Table:
    """Counts of (true, predicted), int [classes, classes]."""
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True)
class CountMetric:
    """A metric of the confusion matrix; higher is better.

    Attributes:
        both: Maps counts [..., classes, classes] and present [classes] to the value [...] and n times its
            derivative by each count [..., classes, classes]. The latter sums to 0 over the rows of the test set.
        title: The metric's name on pages and in sentences.
        least: The lowest value that it can have; the highest is 1.
        estimates_shares: Whether it depends on the shares of the classes, so that these are estimated too.
    """

    both: Callable[[Table, np.ndarray], tuple[np.ndarray, Table]]
    title: str
    least: float = 0.0
    estimates_shares: bool = False

    def value(self, counts: Table, present: np.ndarray) -> np.ndarray:
        """The metric, [...]."""
        return self.both(counts, present)[0]


def divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, 0 where below is 0."""
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.zeros(above.shape), where=below > 0)


def _accuracy(counts: Table, present: np.ndarray) -> tuple[np.ndarray, Table]:
    total = counts.sum((-2, -1))
    value = divide(np.trace(counts, axis1=-2, axis2=-1), total)
    return value, np.eye(counts.shape[-1]) - value[..., None, None]


def by_class(counts: Table, kind: str) -> np.ndarray:
    """Precision, recall or F1 of every class, 0 where it is not defined; [..., classes]."""
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    true, predicted = counts.sum(-1), counts.sum(-2)
    if kind == "f1":
        return divide(2.0 * right, true + predicted)
    return divide(1.0 * right, predicted if kind == "precision" else true)


def _class_slopes(counts: Table, kind: str, weights: np.ndarray) -> tuple[np.ndarray, Table]:
    """`by_class`, and n times the slope of its average with fixed `weights` [..., classes]."""
    values = by_class(counts, kind)
    total = counts.sum((-2, -1))[..., None]
    true, predicted = counts.sum(-1), counts.sum(-2)
    below = true + predicted if kind == "f1" else predicted if kind == "precision" else true
    step = divide(weights * total, below)
    slope = (2 if kind == "f1" else 1) * step[..., None] * np.eye(counts.shape[-1])
    loss = step * values
    if kind in ("f1", "recall"):
        slope = slope - loss[..., :, None]
    if kind in ("f1", "precision"):
        slope = slope - loss[..., None, :]
    return values, slope


def _macro(kind: str, counts: Table, present: np.ndarray) -> tuple[np.ndarray, Table]:
    weights = present / max(present.sum(), 1)
    values, slope = _class_slopes(counts, kind, weights)
    return (values * weights).sum(-1), slope


def _weighted(kind: str, counts: Table, present: np.ndarray) -> tuple[np.ndarray, Table]:
    weights = divide(counts.sum(-1), counts.sum((-2, -1))[..., None])
    values, slope = _class_slopes(counts, kind, weights)
    value = (values * weights).sum(-1)
    # The weights are estimated too: a row more of class k pulls the average towards the value of class k.
    return value, slope + (values - value[..., None])[..., :, None]


def _one_class(kind: str, number: int, counts: Table, present: np.ndarray) -> tuple[np.ndarray, Table]:
    values, slope = _class_slopes(counts, kind, np.arange(counts.shape[-1]) == number)
    return values[..., number], slope


def of_class(kind: str, number: int) -> CountMetric:
    """Precision, recall or F1 (`kind`) of the class with this number."""
    return CountMetric(partial(_one_class, kind, number), f"{kind} of class {number}")


def _mcc(counts: Table, present: np.ndarray) -> tuple[np.ndarray, Table]:
    """Gorodkin 2004, Computational Biology and Chemistry 28: Matthews' coefficient for any number of classes."""
    counts = counts.astype(np.float64)
    total = counts.sum((-2, -1))[..., None, None]
    true, predicted = counts.sum(-1)[..., :, None], counts.sum(-2)[..., None, :]
    right = np.trace(counts, axis1=-2, axis2=-1)[..., None, None]
    above = total * right - (true.swapaxes(-1, -2) * predicted).sum((-2, -1), keepdims=True)
    squares = (true**2).sum((-2, -1), keepdims=True), (predicted**2).sum((-2, -1), keepdims=True)
    # What rounding leaves where all rows are of one class is no spread.
    spread_true, spread_predicted = (np.where(one < total**2 * (1 - 1e-12), total**2 - one, 0) for one in squares)
    below = np.sqrt(spread_true * spread_predicted)
    value = divide(above, below)
    rise = right + total * np.eye(counts.shape[-1]) - predicted.swapaxes(-1, -2) - true.swapaxes(-1, -2)
    fall = divide(total - true, spread_true) + divide(total - predicted, spread_predicted)
    return value[..., 0, 0], np.where(below > 0, total * (divide(rise, below) - value * fall), 0.0)


COUNT_METRICS: dict[str, CountMetric] = {
    "accuracy": CountMetric(_accuracy, "accuracy"),
    "macro_f1": CountMetric(partial(_macro, "f1"), "macro F1"),
    "macro_precision": CountMetric(partial(_macro, "precision"), "macro precision"),
    "macro_recall": CountMetric(partial(_macro, "recall"), "macro recall"),
    "weighted_f1": CountMetric(partial(_weighted, "f1"), "weighted F1", estimates_shares=True),
    "weighted_precision": CountMetric(partial(_weighted, "precision"), "weighted precision", estimates_shares=True),
    "weighted_recall": CountMetric(partial(_weighted, "recall"), "weighted recall", estimates_shares=True),
    "mcc": CountMetric(_mcc, "Matthews correlation", least=-1.0),
}
