"""Intervals of areas under curves, which lie close to 1 and rest on few rows of a rare class."""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from kfp_bert_components.evaluation.row_metrics import ClassArea

NORMAL = 1.959964
_EDGE = 1e-9


def roc_interval(classes: list[ClassArea], rows: int, value: float, error: float) -> tuple[float, float]:
    """95 % interval of the mean over the classes of the area under the ROC curve.

    For each class that of Newcombe 2006 (Statistics in Medicine 25, method 5): the areas whose standard error reaches
    to the one that was seen. Their reaches are averaged, and shrunk as the errors of the classes cancel out in the
    mean (as in Zou and Donner 2008, Statistics in Medicine 27).

    Args:
        classes: The areas, from `roc_by_class`.
        rows: Rows of the test set.
        value: The mean area.
        error: Its standard error.
    """
    ends = [_newcombe(one.value, one.rows, rows - one.rows) for one in classes]
    errors = [one.error for one in classes]
    shrunk = min(1.0, error / np.mean(errors)) if error and all(errors) else 1.0
    reaches = [(one.value - low, high - one.value) for one, (low, high) in zip(classes, ends, strict=True)]
    below, above = shrunk * np.mean(reaches, axis=0)
    return max(0.0, value - below), min(1.0, value + above)


def pr_interval(value: float, error: float) -> tuple[float, float]:
    """95 % interval of average precision, symmetric in its logit (Boyd, Eng and Page 2013, ECML)."""
    middle = min(max(value, _EDGE), 1 - _EDGE)
    reach = NORMAL * error / (middle * (1 - middle))
    return float(expit(logit(middle) - reach)), float(expit(logit(middle) + reach))


def _newcombe(area: float, positives: int, negatives: int) -> tuple[float, float]:
    """Ends of the areas from which `area` is no more than 1.96 standard errors away."""
    half = (positives + negatives) / 2 - 1

    def too_far(other: float) -> float:
        spread = 1 + half * ((1 - other) / (2 - other) + other / (1 + other))
        return abs(other - area) - NORMAL * float(np.sqrt(other * (1 - other) * spread / (positives * negatives)))

    low = brentq(too_far, 0, area * (1 - _EDGE)) if area > _EDGE else 0.0
    high = brentq(too_far, area + (1 - area) * _EDGE, 1) if area < 1 - _EDGE else 1.0
    return low, high
