"""Paired comparison of two models on the same rows: a permutation test and a bootstrap interval."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_DRAWS = 10_000


@dataclass(frozen=True)
class Difference:
    """Candidate minus champion, positive when the candidate is better.

    Attributes:
        value: The observed difference.
        low: Lower end of its 1 - 2 alpha interval.
        high: Upper end.
        p_value: One-sided, of the hypothesis that the two are exchangeable.
    """

    value: float
    low: float
    high: float
    p_value: float


def compare_counts(
    metric: Callable[[np.ndarray], np.ndarray], truth: np.ndarray, candidate: np.ndarray, champion: np.ndarray,
    classes: int, alpha: float, seed: int = 0,
) -> Difference:  # fmt: skip
    """Compare on a metric of the confusion matrix.

    Under the hypothesis the two predictions of a row could be swapped (Good 2005, chapter 3). Rows with the same
    (truth, candidate, champion) are one cell, so that a permutation is a binomial draw a cell and a bootstrap
    resample a multinomial draw over the cells.

    Args:
        metric: Maps counts [..., classes, classes] to values [...].
        truth, candidate, champion: Class indices, [rows].
        classes: Number of classes.
        alpha: One-sided level.
        seed: Seed of the draws.
    """
    rng = np.random.default_rng(seed)
    cells, sizes = np.unique(np.stack([truth, candidate, champion]), axis=1, return_counts=True)
    first = _Tables(cells[0], cells[1], classes)
    second = _Tables(cells[0], cells[2], classes)
    value = float(metric(first.counts(sizes)) - metric(second.counts(sizes)))
    swapped = rng.binomial(sizes, 0.5, (_DRAWS, len(sizes)))
    kept = sizes - swapped
    null = metric(first.counts(kept) + second.counts(swapped)) - metric(second.counts(kept) + first.counts(swapped))
    resampled = rng.multinomial(len(truth), sizes / len(truth), _DRAWS)
    draws = metric(first.counts(resampled)) - metric(second.counts(resampled))
    return _difference(value, null, draws, alpha)


def compare_means(candidate: np.ndarray, champion: np.ndarray, alpha: float, seed: int = 0) -> Difference:
    """Compare on the mean of a number that each row has, higher being better; arguments [rows]."""
    rng = np.random.default_rng(seed)
    gains = candidate - champion
    null, draws = np.empty(_DRAWS), np.empty(_DRAWS)
    for i in range(_DRAWS):
        null[i] = np.where(rng.random(len(gains)) < 0.5, gains, -gains).mean()
        draws[i] = gains[rng.integers(len(gains), size=len(gains))].mean()
    return _difference(float(gains.mean()), null, draws, alpha)


class _Tables:
    """Adds cell counts up to confusion matrices."""

    def __init__(self, truth: np.ndarray, predicted: np.ndarray, classes: int) -> None:
        self._onto = np.zeros((len(truth), classes * classes))
        self._onto[np.arange(len(truth)), truth * classes + predicted] = 1
        self._classes = classes

    def counts(self, cells: np.ndarray) -> np.ndarray:
        return (cells @ self._onto).reshape(*cells.shape[:-1], self._classes, self._classes)


def _difference(value: float, null: np.ndarray, draws: np.ndarray, alpha: float) -> Difference:
    # The observed arrangement counts as one of the permutations (Phipson and Smyth 2010).
    p_value = (1 + int((null >= value - 1e-12).sum())) / (1 + len(null))
    low, high = np.quantile(draws, [alpha, 1 - alpha])
    return Difference(value, float(low), float(high), p_value)
