"""All metrics of predictions, each with a 95 % interval."""

import numpy as np

from kfp_bert_components.evaluation.area_intervals import pr_interval, roc_interval
from kfp_bert_components.evaluation.calibration_interval import ece_interval
from kfp_bert_components.evaluation.count_intervals import NORMAL, class_intervals, count_intervals
from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS, by_class, confusion
from kfp_bert_components.evaluation.loss_intervals import loss_intervals
from kfp_bert_components.evaluation.names import metric_range
from kfp_bert_components.evaluation.row_metrics import ROW_METRICS, ece, pr_by_class, roc_by_class

# By name of the metric: value, low, high.
Intervals = dict[str, tuple[float, float, float]]


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
        By name: value, low and high, the latter two a 95 % interval that holds the value. A metric that is not
        defined on these rows (an area under a curve with one class only) is left out.
    """
    counts = confusion(truth, probabilities.argmax(1), probabilities.shape[1])
    found = _of_counts(counts) | _of_classes(counts, labels or [])
    found |= loss_intervals(truth, probabilities, np.random.default_rng(seed)) | _of_areas(truth, probabilities)
    error = ece(truth, probabilities)[0]
    found["ece"] = (error, *ece_interval(truth, probabilities, error))
    found |= _of_rows(truth, probabilities, ROW_METRICS.keys() - found.keys())
    return {name: _bounded(name, *map(float, one)) for name, one in found.items()}


def _of_counts(counts: np.ndarray) -> Intervals:
    present, intervals = counts.sum(1) > 0, count_intervals(counts)
    return {name: (float(metric.value(counts, present)), *intervals[name]) for name, metric in COUNT_METRICS.items()}


def _of_classes(counts: np.ndarray, labels: list[str]) -> Intervals:
    found = {}
    for kind, (low, high) in class_intervals(counts).items() if labels else ():
        values = by_class(counts, kind)
        for number in np.flatnonzero(counts.sum(1)):
            found[f"{kind}:{labels[number]}"] = (values[number], low[number], high[number])
    return found


def _of_areas(truth: np.ndarray, probabilities: np.ndarray) -> Intervals:
    found = {}
    for name, areas, interval in (("roc_auc", roc_by_class, roc_interval), ("pr_auc", pr_by_class, pr_interval)):
        mean, classes = areas(truth, probabilities)
        if mean is not None:
            error = float(np.sqrt((mean[1] ** 2).sum())) / len(truth)
            found[name] = (mean[0], *interval(classes, error))
    return found


def _of_rows(truth: np.ndarray, probabilities: np.ndarray, names: set[str]) -> Intervals:
    """Metrics without an interval of their own get the normal one."""
    found = {}
    for name in sorted(names):
        measured = ROW_METRICS[name].measure(truth, probabilities)
        if measured is not None:
            value, influences = measured
            reach = NORMAL * float(np.sqrt((influences**2).sum())) / len(truth)
            found[name] = (value, value - reach, value + reach)
    return found


def _bounded(name: str, value: float, low: float, high: float) -> dict[str, float]:
    least, most = metric_range(name)
    value = min(max(value, least), most)  # rounding
    return {"value": value, "low": max(min(low, value), least), "high": min(max(high, value), most)}
