"""An interval of the expected calibration error, which chance makes larger: gaps of both signs count as errors."""

import numpy as np
from scipy.stats import chi2, norm

from kfp_bert_components.evaluation.area_intervals import NORMAL
from kfp_bert_components.evaluation.row_metrics import BINS, by_confidence

_FAR = 8.0


def ece_interval(truth: np.ndarray, probabilities: np.ndarray, value: float) -> tuple[float, float]:
    """95 % interval of the calibration error that all possible rows would show, in the bins of `ece`.

    The gap of each bin has a normal interval; they are put together around the sum of the gaps that are most likely
    behind the ones that were seen (Zou and Donner 2008, Statistics in Medicine 27). It begins at 0 where a test of all
    bins cannot tell the model from a calibrated one (Hosmer and Lemeshow 1980, Communications in Statistics 9).

    Args:
        truth: Numbers of the true classes, int [rows].
        probabilities: [rows, classes].
        value: The error that was seen, which the interval holds.
    """
    confidence, gap, bin_ = by_confidence(truth, probabilities)
    rows = len(gap)
    shares = np.bincount(bin_, gap, BINS) / rows
    seen = np.maximum(np.bincount(bin_, gap**2, BINS) / rows - shares**2, 0) / rows
    calibrated = np.bincount(bin_, confidence * (1 - confidence), BINS) / rows**2
    # Few rows that are all right vary more than they show.
    errors = np.sqrt(np.maximum(seen, calibrated))
    some, random = errors > 0, calibrated > 0
    sizes, errors = np.abs(shares[some]), errors[some]
    likely = errors * _unfolded(sizes / errors)
    below = np.maximum(likely - np.maximum(sizes - NORMAL * errors, 0), 0)
    above = sizes + NORMAL * errors - likely
    low, high = likely.sum() - np.hypot.reduce(below), likely.sum() + np.hypot.reduce(above)
    if (shares[random] ** 2 / calibrated[random]).sum() <= chi2.ppf(0.95, max(random.sum(), 1)):
        low = 0.0
    return max(float(low), 0.0), max(float(high), value)


def _unfolded(sizes: np.ndarray) -> np.ndarray:
    """Means of the normal distributions, of variance 1, whose absolute values have these means; 0 below the least."""
    means = np.linspace(0, _FAR, 2001)
    folded = np.sqrt(2 / np.pi) * np.exp(-(means**2) / 2) + means * (1 - 2 * norm.cdf(-means))
    return np.where(sizes > _FAR, sizes, np.interp(sizes, folded, means))
