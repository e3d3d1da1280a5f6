"""All metrics of predictions, each with a 95 % bootstrap interval."""

import numpy as np

from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS, by_class, confusion
from kfp_bert_components.evaluation.row_metrics import ROW_METRICS, row_log_loss

__all__ = ["COUNT_METRICS", "ROW_METRICS", "by_class", "confusion", "metrics_with_intervals", "row_log_loss"]

DRAWS = 2000
# Larger test sets are resampled in this many random groups of rows: groups are as independent as rows are.
GROUPS = 4_096
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
    """Rows drawn with replacement are a multinomial draw of the matrix (Efron and Tibshirani 1993, chapter 13)."""
    present, rows = counts.sum(1) > 0, counts.sum()
    filled = np.flatnonzero(counts)
    draws = np.zeros((DRAWS, counts.size))
    draws[:, filled] = rng.multinomial(rows, counts.ravel()[filled] / rows, DRAWS)
    draws = draws.reshape(-1, *counts.shape)
    found = {
        name: _interval(float(metric.value(counts, present)), metric.value(draws, present))
        for name, metric in COUNT_METRICS.items()
    }
    for kind in KINDS if labels else ():
        values, drawn = by_class(counts, kind), by_class(draws, kind)
        for number in np.flatnonzero(present):
            found[f"{kind}:{labels[number]}"] = _interval(float(values[number]), drawn[:, number])
    return found


def _of_rows(truth: np.ndarray, probabilities: np.ndarray, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """The bootstrap of the first-order expansion: the metric plus the resampled mean of the influences."""
    measured = {name: f(truth, probabilities) for name, f in ROW_METRICS.items()}
    defined = {name: both for name, both in measured.items() if both is not None}
    influences = np.stack([both[1] for both in defined.values()], axis=1)
    rows = len(truth)
    if rows > GROUPS:
        order = rng.permutation(rows)
        cuts = np.linspace(0, rows, GROUPS, endpoint=False).astype(np.int64)
        influences = np.add.reduceat(influences[order], cuts, axis=0)
    places = len(influences)
    shifts = np.stack([
        np.bincount(rng.integers(places, size=places), minlength=places) @ influences for _ in range(DRAWS)
    ]) / rows  # fmt: skip
    found = {}
    for i, (name, (value, _)) in enumerate(defined.items()):
        found[name] = _interval(value, value + shifts[:, i])
        highest = np.inf if name == "log_loss" else 2.0 if name == "brier" else 1.0
        found[name] |= {end: min(max(found[name][end], 0.0), highest) for end in ("low", "high")}
    return found


def _interval(value: float, draws: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"value": value, "low": float(low), "high": float(high)}
