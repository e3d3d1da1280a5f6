"""Intervals of areas under curves. Areas are often close to 1 and depend on the few rows of a rare class.

An area gets Wilson's interval of a share, for the number of rows at which a share would have the area's standard error
(Korn and Graubard 1998, Survey Methodology 24; Dean and Pagano 2015, Journal of Survey Statistics and Methodology 3).
The standard error is DeLong's, or the same kind of estimate for average precision. It is nearly 0 where the ranking is
nearly perfect. So half a row of the rarer class is added, with the variance that is usual for such an area.
"""

import numpy as np

from kfp_bert_components.evaluation.count_intervals import wilson
from kfp_bert_components.evaluation.row_metrics import ClassArea


def roc_interval(classes: list[ClassArea], error: float) -> tuple[float, float]:
    """95 % interval of the mean over the classes of the area under the ROC curve.

    The usual variance is that of Hanley and McNeil 1982 (Radiology 143).

    Args:
        classes: The areas, from `roc_by_class`.
        error: Standard error of their mean.
    """
    positives, negatives, values, *_ = np.array(classes).T
    alike = (1 - values) / (2 - values) + values / (1 + values)
    return _interval(classes, positives * negatives / (1 + alike * ((positives + negatives) / 2 - 1)), error)


def pr_interval(classes: list[ClassArea], error: float) -> tuple[float, float]:
    """95 % interval of the mean over the classes of average precision.

    The usual variance is that of a share of the positive rows (Boyd, Eng and Page 2013, ECML). The lower end is lowered
    by the bias of average precision.

    Args:
        classes: The areas, from `pr_by_class`.
        error: Standard error of their mean.
    """
    return _interval(classes, np.array(classes)[:, 0], error)


def _interval(classes: list[ClassArea], usual: np.ndarray, error: float) -> tuple[float, float]:
    """Interval of the mean area: the mean distance of the classes' ends from their values (Zou and Donner 2008).

    It is multiplied by the standard error of the mean over the mean standard error, as the classes' errors cancel out.
    """
    positives, negatives, values, errors, biases = np.array(classes).T
    fewer = np.minimum(positives, negatives)
    variance = errors**2 * fewer / np.maximum(fewer - 1, 1)
    unbiased = np.maximum(values - biases, 0)
    low = _wilson(unbiased, variance, 0.5 / fewer, usual)[0]
    high = _wilson(values, variance, 0.5 / fewer, usual)[1]
    shrunk = error / errors.mean() if errors.any() else 1.0
    below, above = (unbiased - low).mean(), (high - values).mean()
    return max(0.0, float(unbiased.mean() - shrunk * below)), min(1.0, float(values.mean() + shrunk * above))


def _wilson(value: np.ndarray, variance: np.ndarray, weight: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Wilson's interval [2, classes].

    Args:
        value: The areas, [classes].
        variance: Their observed variances.
        weight: Weight of the usual variance beside the observed one.
        usual: Number of rows at which a share would have the usual variance.
    """
    rows = (value * (1 - value) + weight) / (variance + weight / usual)
    return wilson(value * rows, rows)
