"""Metrics that are functions of the confusion matrix, each with its slopes: add a metric here.

All of them depend on three numbers of each class only: the rows that are right, those of the class, and those predicted
to be of it. So a table of thousands of classes needs no matrix. Slopes say how the metric moves with each of these
numbers: the infinitesimal jackknife (Efron 1982, The Jackknife, the Bootstrap and Other Resampling Plans, chapter 6)
makes standard errors of them. Averages over classes are over the classes that the test set has (`present`): a class
without a row has no recall.

A metric that is added to COUNT_METRICS is measured, with an interval, by every evaluation, is shown on the pages, and
may be the primary metric or have a threshold in a policy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np


class Margins(NamedTuple):
    """Numbers of rows of each class, [..., classes] each.

    Attributes:
        right: Rows of the class that are predicted to be of it.
        true: Rows of the class.
        predicted: Rows that are predicted to be of it.
    """

    right: np.ndarray
    true: np.ndarray
    predicted: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray) -> "Margins":
        """Those of confusion matrices, [..., classes, classes]."""
        return cls(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1), counts.sum(-2))


class Slopes(NamedTuple):
    """n times the derivative of a metric by each of the `Margins`, [..., classes] each.

    A row of class t that is predicted to be p moves the metric by true[t] + predicted[p], and by right[t] if t is p.
    Over the rows of the test set that sums to 0.
    """

    right: np.ndarray
    true: np.ndarray
    predicted: np.ndarray

    def at(self, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """What rows of these classes add, [rows]."""
        return self.true[truth] + self.predicted[predicted] + self.right[truth] * (truth == predicted)

    def matrix(self) -> np.ndarray:
        """What a row in each cell of the confusion matrix adds, [classes, classes]."""
        return self.true[:, None] + self.predicted + np.diag(self.right)


Both = tuple[np.ndarray, Slopes]


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts of (true, predicted), int [classes, classes]."""
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def margins(truth: np.ndarray, predicted: np.ndarray, classes: int) -> Margins:
    """`Margins.of` their confusion matrix."""
    parts = truth[truth == predicted], truth, predicted
    return Margins(*(np.bincount(part, minlength=classes) for part in parts))


@dataclass(frozen=True)
class CountMetric:
    """A metric of the confusion matrix; higher is better.

    Attributes:
        both: Maps margins and present [classes] to the value [...] and its slopes.
        title: The metric's name on pages and in sentences.
        least: The lowest value that it can have; the highest is 1.
        estimates_shares: Whether it depends on the shares of the classes, so that these are estimated too.
    """

    both: Callable[[Margins, np.ndarray], Both]
    title: str
    least: float = 0.0
    estimates_shares: bool = False

    def value(self, counts: Margins, present: np.ndarray) -> np.ndarray:
        """The metric, [...]."""
        return self.both(counts, present)[0]


def divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, 0 where below is 0."""
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.zeros(above.shape), where=below > 0)


def _accuracy(counts: Margins, present: np.ndarray) -> Both:
    value = divide(counts.right.sum(-1), counts.true.sum(-1))
    nothing = np.zeros(counts.true.shape)
    return value, Slopes(nothing + 1, nothing - value[..., None], nothing)


def by_class(counts: Margins, kind: str) -> np.ndarray:
    """Precision, recall or F1 of every class, 0 where it is not defined; [..., classes]."""
    return divide((2.0 if kind == "f1" else 1.0) * counts.right, _below(counts, kind))


def _below(counts: Margins, kind: str) -> np.ndarray:
    if kind == "f1":
        return counts.true + counts.predicted
    return counts.predicted if kind == "precision" else counts.true


def _class_slopes(counts: Margins, kind: str, weights: np.ndarray) -> Both:
    """`by_class`, and the slopes of its average with fixed `weights` [..., classes]."""
    values = by_class(counts, kind)
    step = divide(weights * counts.true.sum(-1)[..., None], _below(counts, kind))
    loss = step * values
    true, predicted = (-loss if kind in ("f1", one) else np.zeros(loss.shape) for one in ("recall", "precision"))
    return values, Slopes((2 if kind == "f1" else 1) * step, true, predicted)


def _macro(kind: str, counts: Margins, present: np.ndarray) -> Both:
    weights = present / max(present.sum(), 1)
    values, slopes = _class_slopes(counts, kind, weights)
    return (values * weights).sum(-1), slopes


def _weighted(kind: str, counts: Margins, present: np.ndarray) -> Both:
    weights = divide(counts.true, counts.true.sum(-1)[..., None])
    values, slopes = _class_slopes(counts, kind, weights)
    value = (values * weights).sum(-1)
    # The weights are estimated too: a row more of class k pulls the average towards the value of class k.
    return value, slopes._replace(true=slopes.true + values - value[..., None])


def _one_class(kind: str, number: int, counts: Margins, present: np.ndarray) -> Both:
    values, slopes = _class_slopes(counts, kind, np.arange(len(present)) == number)
    return values[..., number], slopes


def of_class(kind: str, number: int) -> CountMetric:
    """Precision, recall or F1 (`kind`) of the class with this number."""
    return CountMetric(partial(_one_class, kind, number), f"{kind} of class {number}")


def _mcc(counts: Margins, present: np.ndarray) -> Both:
    """Gorodkin 2004, Computational Biology and Chemistry 28: Matthews' coefficient for any number of classes."""
    right, true, predicted = (part.astype(np.float64) for part in counts)
    total, right = true.sum(-1, keepdims=True), right.sum(-1, keepdims=True)
    squares = (true**2).sum(-1, keepdims=True), (predicted**2).sum(-1, keepdims=True)
    # What rounding leaves where all rows are of one class is no spread.
    spread_true, spread_predicted = (np.where(one < total**2 * (1 - 1e-12), total**2 - one, 0) for one in squares)
    below = np.sqrt(spread_true * spread_predicted)
    value = divide(total * right - (true * predicted).sum(-1, keepdims=True), below)
    by_right = divide(total + 0 * true, below)
    by_true = divide(right - predicted, below) - value * divide(total - true, spread_true)
    by_predicted = divide(-true, below) - value * divide(total - predicted, spread_predicted)
    return value[..., 0], Slopes(*(total * (below > 0) * one for one in (by_right, by_true, by_predicted)))


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
