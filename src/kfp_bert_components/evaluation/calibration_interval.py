"""An interval of the expected calibration error. Chance makes this error larger, as gaps of both signs add to it."""

import numpy as np
from scipy.stats import chi2, norm

from kfp_bert_components.evaluation.clusters import Clusters
from kfp_bert_components.evaluation.count_intervals import NORMAL
from kfp_bert_components.evaluation.row_metrics import BINS, by_confidence

_FAR = 8.0
_DRAWS = 2000


def ece_interval(
    truth: np.ndarray, probabilities: np.ndarray, value: float, clusters: Clusters | None = None
) -> tuple[float, float]:
    """95 % interval of the calibration error on all possible rows, in the bins of `ece`.

    For each bin the most likely true gap is found from the observed one. The upper end combines the normal intervals of
    the gaps around the sum of the most likely gaps (Zou and Donner 2008, Statistics in Medicine 27). For the lower end,
    what chance adds is drawn (parametric bootstrap) and subtracted. The lower end is 0 where a test of all bins cannot
    tell the model from a calibrated one (Hosmer and Lemeshow 1980, Communications in Statistics 9). Near 0 the true
    error can be missed on one side only, so the lower tail is 5 % there and falls to 2.5 % with the distance from 0
    (Feldman and Cousins 1998, Physical Review D 57).

    Args:
        truth: Numbers of the true classes, int [rows].
        probabilities: [rows, classes].
        value: The observed error; the interval contains it.
        clusters: Which rows are evidence only together; None where every row is for itself.
    """
    confidence, gap, bin_ = by_confidence(truth, probabilities)
    rows = len(gap)
    effect = clusters.design_effect(gap, bin_) if clusters else 1.0
    shares = np.bincount(bin_, gap, BINS) / rows
    seen = np.maximum(np.bincount(bin_, gap**2, BINS) / rows - shares**2, 0) / rows * effect
    calibrated = np.bincount(bin_, confidence * (1 - confidence), BINS) / rows**2 * effect
    # The observed variance is too small in a bin of few rows that are all right.
    errors = np.sqrt(np.maximum(seen, calibrated))
    some = errors > 0
    if not some.any():
        return value, value
    # Where a calibrated model would never be wrong, a gap cannot come from chance.
    certain = np.where(shares == 0, 0, np.inf)
    unlike = np.divide(shares**2, calibrated, out=certain, where=calibrated > 0).sum()
    sizes, errors = np.abs(shares[some]), errors[some]
    likely = errors * _unfolded(sizes / errors)
    high = likely.sum() + np.hypot.reduce(sizes + NORMAL * errors - likely)
    if unlike <= chi2.ppf(0.95, some.sum()):
        return 0.0, max(float(high), value)
    return _low(value, likely, errors), max(float(high), value)


def _low(value: float, gaps: np.ndarray, errors: np.ndarray) -> float:
    """The lower end, from the most likely gaps of the bins and their standard errors."""
    drawn = np.random.default_rng(0).standard_normal((_DRAWS, len(gaps)))
    added = np.abs(gaps + errors * drawn).sum(1) - gaps.sum()
    middle, near, far = np.quantile(added, [0.5, 0.95, 0.975])
    # `near` (a tail of 5 %) is subtracted where the end is 0, and `far` (2.5 %) where it is far from 0.
    return max((value - near) / (1 + (far - near) / (far - middle)), value - far, 0.0)


def _unfolded(sizes: np.ndarray) -> np.ndarray:
    """Means of normal distributions of variance 1 whose absolute values have the means `sizes`.

    The mean of an absolute value is at least sqrt(2 / pi); below that the result is 0.
    """
    means = np.linspace(0, _FAR, 2001)
    folded = np.sqrt(2 / np.pi) * np.exp(-(means**2) / 2) + means * (1 - 2 * norm.cdf(-means))
    return np.where(sizes > _FAR, sizes, np.interp(sizes, folded, means))
