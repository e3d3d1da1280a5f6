"""Intervals of the mean log loss and Brier score: the studentised bootstrap, and Student's where clusters are few.

Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 12. A few confident mistakes make most of the log
loss of a good model, and a small test set may have none of them: then the true variance is larger than the observed
one. The model's own probabilities say what the variance is if the model is well calibrated. This variance counts as
half a row beside the observed one.
"""

import numpy as np

from kfp_bert_components.evaluation.clusters import FEWEST, Clusters, student
from kfp_bert_components.evaluation.count_intervals import NORMAL
from kfp_bert_components.evaluation.row_metrics import FLOOR, row_brier, row_log_loss

DRAWS, _AT_ONCE = 2000, 100
# Larger test sets are resampled in this many random groups of clusters: groups are as independent as clusters are.
GROUPS = 4_096


def loss_intervals(
    truth: np.ndarray, probabilities: np.ndarray, rng: np.random.Generator, clusters: Clusters
) -> dict[str, tuple[float, float, float]]:
    """By name, the mean and its 95 % interval.

    Args:
        truth: Numbers of the true classes, int [rows].
        probabilities: [rows, classes].
        rng: For the resampling.
        clusters: Which rows are resampled together.
    """
    losses = np.stack([row_log_loss(truth, probabilities), row_brier(truth, probabilities)], axis=1)
    means, effective = losses.mean(0), clusters.effective(np.ones(len(truth)))
    if not clusters.single and effective < FEWEST:  # the samples of a few clusters repeat
        wider = np.sqrt(student(effective)) if clusters.copies else 1.0  # it is in the error of groups
        reach = [NORMAL * wider * clusters.error(column - column.mean(), truth) for column in losses.T]
        ends = np.stack([means - reach, means + reach])
        return _named(means, ends)
    ends = _studentised(losses, rng, clusters)
    spread = [clusters.spread(column - mean, truth) for column, mean in zip(losses.T, means, strict=True)]
    ends = means + (ends - means) * spread
    ends[:, 0] = means[0] + (ends[:, 0] - means[0]) * _unseen(losses[:, 0], probabilities, clusters)
    return _named(means, ends)


def _named(means: np.ndarray, ends: np.ndarray) -> dict[str, tuple[float, float, float]]:
    return {name: (means[i], ends[0, i], ends[1, i]) for i, name in enumerate(("log_loss", "brier"))}


def _unseen(losses: np.ndarray, probabilities: np.ndarray, clusters: Clusters) -> float:
    """Factor, at least 1, by which the standard error of the log loss exceeds the observed one."""
    squares = (losses - losses.mean()) ** 2
    seen = float(squares.mean())
    if seen == 0:
        return 1.0
    logs = np.log(np.clip(probabilities, FLOOR, 1))
    expected = -np.einsum("ij,ij->i", probabilities, logs, dtype=np.float64).mean()
    expected_square = np.einsum("ij,ij,ij->i", probabilities, logs, logs, dtype=np.float64).mean()
    # The number of clusters that would give this variance if all of them had an equal part in it.
    parts = clusters.sums(losses - losses.mean()) ** 2
    rows = parts.sum() ** 2 / (parts**2).sum() if parts.any() else 0.0
    variance = (rows * seen + 0.5 * (expected_square - expected**2)) / (rows + 0.5)
    return float(np.sqrt(max(variance / seen, 1)))


def _studentised(rows: np.ndarray, rng: np.random.Generator, clusters: Clusters) -> np.ndarray:
    """95 % intervals [2, columns] of the means over `rows` [rows, columns]."""
    mean = rows.mean(0)
    centred = clusters.sums(rows - mean)
    error = np.sqrt((centred**2).sum(0)) / len(rows)
    if len(centred) > GROUPS:
        cuts = np.linspace(0, len(centred), GROUPS, endpoint=False).astype(np.int64)
        centred = np.add.reduceat(centred[rng.permutation(len(centred))], cuts, axis=0)
    places = len(centred)
    both = np.concatenate([centred, centred**2], axis=1)
    sums = np.concatenate([_resample_counts(places, rng) @ both for _ in range(0, DRAWS, _AT_ONCE)])
    shifts, squares = np.split(sums, 2, axis=1)
    errors = np.sqrt(np.maximum(squares - shifts**2 / places, 0))
    # Rounding leaves a little where all rows of a sample are the same.
    spread = errors > 1e-6 * np.sqrt(squares)
    drawn = np.divide(shifts, errors, out=np.zeros_like(shifts), where=spread)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return np.stack([mean - high * error, mean - low * error])


def _resample_counts(rows: int, rng: np.random.Generator) -> np.ndarray:
    """100 bootstrap samples of `rows` rows: how often each row is in each sample, [100, rows]."""
    drawn = rng.integers(rows, size=(_AT_ONCE, rows)) + rows * np.arange(_AT_ONCE)[:, None]
    return np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
