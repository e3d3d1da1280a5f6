"""All metrics of predictions, each with a 95 % bootstrap interval."""

from collections.abc import Iterator

import numpy as np

from kfp_bert_components.evaluation.area_intervals import pr_interval, roc_interval
from kfp_bert_components.evaluation.calibration_interval import ece_interval
from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS, by_class, confusion
from kfp_bert_components.evaluation.row_metrics import (
    ROW_METRICS,
    ece,
    pr_by_class,
    roc_by_class,
    row_brier,
    row_log_loss,
)

__all__ = ["COUNT_METRICS", "ROW_METRICS", "by_class", "confusion", "metrics_with_intervals", "row_log_loss"]

DRAWS = 2000
# Larger test sets are resampled in this many random groups of rows: groups are as independent as rows are.
GROUPS = 4_096
_CELLS_AT_ONCE = 4_000_000
KINDS = ("precision", "recall", "f1")


def metrics_with_intervals(
    truth: np.ndarray, probabilities: np.ndarray, labels: list[str] | None = None, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Measure predictions.

    Args:
        truth: Numbers of the true classes, int [rows].
        probabilities: [rows, classes].
        labels: Names of the classes, for the metrics of single classes ("f1:NAME"); None leaves those out.
        seed: Seed of the resampling.

    Returns:
        By name: value, low and high, the latter two a 95 % interval. A metric that is not defined on these rows
        (an area under a curve with one class only) is left out.
    """
    rng = np.random.default_rng(seed)
    classes = probabilities.shape[1]
    counts = confusion(truth, probabilities.argmax(1), classes)
    return _of_counts(counts, labels or [], rng) | _of_rows(truth, probabilities, rng)


def _of_counts(counts: np.ndarray, labels: list[str], rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """The Bayesian bootstrap of the matrix (Rubin 1981, Annals of Statistics 9) with a prior of a few rows.

    Half a row right and half a row wrong for each class give recall and precision Jeffreys' interval (Brown, Cai and
    DasGupta 2001, Statistical Science 16; for F1 Goutte and Gaussier 2005, ECIR): a class without a mistake has an
    interval too. For metrics over all classes the prior is that of one class, or it would outweigh the rows.
    """
    classes, present = len(counts), counts.sum(1) > 0
    prior = np.full(counts.shape, 0.5 / max(classes - 1, 1))
    np.fill_diagonal(prior, 0.5)
    prior[~present] = 0
    drawn: dict[str, list[np.ndarray]] = {}
    for draws in _resampled(counts + prior / classes, rng):
        for name, metric in COUNT_METRICS.items():
            drawn.setdefault(name, []).append(metric.value(draws, present))
    found = {
        name: _interval(float(metric.value(counts, present)), np.concatenate(drawn[name]))
        for name, metric in COUNT_METRICS.items()
    }
    for draws in _resampled(counts + prior, rng) if labels else ():
        for kind in KINDS:
            drawn.setdefault(kind, []).append(by_class(draws, kind))
    for kind in KINDS if labels else ():
        values, both = by_class(counts, kind), np.concatenate(drawn[kind])
        for number in np.flatnonzero(present):
            found[f"{kind}:{labels[number]}"] = _interval(float(values[number]), both[:, number])
    return found


def _resampled(weights: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """DRAWS matrices whose shares have a Dirichlet distribution, some at a time so that many classes fit."""
    some = max(1, min(DRAWS, _CELLS_AT_ONCE // weights.size))
    for start in range(0, DRAWS, some):
        draws = rng.standard_gamma(weights, (min(some, DRAWS - start), *weights.shape))
        yield draws * (weights.sum() / draws.sum((1, 2), keepdims=True))


def _of_rows(truth: np.ndarray, probabilities: np.ndarray, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """Metrics of probabilities: means are bootstrapped, the others are too skew for that."""
    each = np.stack([row_log_loss(truth, probabilities), row_brier(truth, probabilities)], axis=1)
    values, (low, high) = each.mean(0), _studentised(each, rng)
    found = {name: (values[i], low[i], high[i]) for i, name in enumerate(("log_loss", "brier"))}
    for name, areas, interval in (("roc_auc", roc_by_class, roc_interval), ("pr_auc", pr_by_class, pr_interval)):
        mean, classes = areas(truth, probabilities)
        if mean is not None:
            error = float(np.sqrt((mean[1] ** 2).sum())) / len(truth)
            found[name] = (mean[0], *interval(classes, error))
    calibration = ece(truth, probabilities)[0]
    found["ece"] = (calibration, *ece_interval(truth, probabilities, calibration))
    most = {"log_loss": np.inf, "brier": 2.0}
    return {
        name: {"value": float(value), "low": max(float(low), 0.0), "high": min(float(high), most.get(name, 1.0))}
        for name, (value, low, high) in found.items()
    }


def _studentised(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """95 % intervals [2, columns] of the means over `rows` [rows, columns], by the studentised bootstrap.

    Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 12.
    """
    mean = rows.mean(0)
    centred = rows - mean
    error = np.sqrt((centred**2).sum(0)) / len(rows)
    if len(rows) > GROUPS:
        cuts = np.linspace(0, len(rows), GROUPS, endpoint=False).astype(np.int64)
        centred = np.add.reduceat(centred[rng.permutation(len(rows))], cuts, axis=0)
    places = len(centred)
    both = np.concatenate([centred, centred**2], axis=1)
    sums = np.stack([np.bincount(rng.integers(places, size=places), minlength=places) @ both for _ in range(DRAWS)])
    shifts, squares = np.split(sums, 2, axis=1)
    errors = np.sqrt(np.maximum(squares - shifts**2 / places, 0))
    drawn = np.divide(shifts, errors, out=np.zeros_like(shifts), where=errors > 0)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return np.stack([mean - high * error, mean - low * error])


def _interval(value: float, draws: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"value": value, "low": min(float(low), value), "high": max(float(high), value)}
