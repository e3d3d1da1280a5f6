"""All metrics of predictions, each with a 95 % interval."""

import numpy as np

from kfp_bert_components.evaluation.area_intervals import pr_interval, roc_interval
from kfp_bert_components.evaluation.calibration_interval import ece_interval
from kfp_bert_components.evaluation.clusters import FEWEST_FOR_A_SPREAD, Clusters, independent, row_weights
from kfp_bert_components.evaluation.count_intervals import NORMAL, Effects, class_intervals, count_intervals
from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS, Margins, by_class, confusion
from kfp_bert_components.evaluation.loss_intervals import loss_intervals
from kfp_bert_components.evaluation.names import metric_range
from kfp_bert_components.evaluation.row_metrics import ROW_METRICS, ece, pr_by_class, roc_by_class

# By name of the metric: value, low, high.
Intervals = dict[str, tuple[float, float, float]]


def metrics_with_intervals(
    truth: np.ndarray,
    probabilities: np.ndarray,
    labels: list[str] | None = None,
    seed: int = 0,
    clusters: Clusters | None = None,
) -> dict[str, dict[str, float]]:
    """Measure predictions.

    Args:
        truth: Numbers of the true classes, int [rows].
        probabilities: [rows, classes].
        labels: Names of the classes, for the metrics of single classes ("f1:NAME"); None leaves those out.
        seed: Seed of the resampling.
        clusters: Which rows are evidence only together; None where every row is for itself.

    Returns:
        By name: value, low and high, the latter two a 95 % interval that holds the value: the whole range of the
        metric where clusters are too few. A metric that is not defined on these rows (an area under a curve with one
        class only) is left out.
    """
    clusters, predicted = clusters or independent(len(truth)), probabilities.argmax(1)
    counts = confusion(truth, predicted, probabilities.shape[1])
    margins = Margins.of(counts)
    effects = _effects(truth, predicted, margins, clusters)
    found = _of_counts(counts, effects) | _of_classes(margins, effects, labels or [])
    found |= loss_intervals(truth, probabilities, np.random.default_rng(seed), clusters)
    found |= _of_areas(truth, probabilities, clusters)
    error = ece(truth, probabilities)[0]
    found["ece"] = (error, *ece_interval(truth, probabilities, error, clusters))
    found |= _of_rows(truth, probabilities, ROW_METRICS.keys() - found.keys(), clusters)
    unknown = _unknown(found, truth, labels or [], clusters)
    return {
        name: _bounded(name, float(value), *((-np.inf, np.inf) if name in unknown else map(float, ends)))
        for name, (value, *ends) in found.items()
    }


def _unknown(found: Intervals, truth: np.ndarray, labels: list[str], clusters: Clusters) -> set[str]:
    """The metrics whose interval is their whole range, as the clusters are too few to show how much they differ.

    Copies of a text get the same answer, so what a share of right answers varies by is known also of a single text.
    """
    if clusters.single:
        return set()
    numbers = {label: number for number, label in enumerate(labels)}
    names = [name for name in found if name in ROW_METRICS or not clusters.copies]
    weights = {name: row_weights(name, truth, numbers.get(name.partition(":")[2], -1)) for name in names}
    return {name for name, one in weights.items() if clusters.effective(one) < FEWEST_FOR_A_SPREAD}


def _of_counts(counts: np.ndarray, effects: Effects) -> Intervals:
    margins, intervals = Margins.of(counts), count_intervals(counts, effects)
    present = margins.true > 0
    return {name: (float(metric.value(margins, present)), *intervals[name]) for name, metric in COUNT_METRICS.items()}


def _of_classes(counts: Margins, effects: Effects, labels: list[str]) -> Intervals:
    found = {}
    for kind, (low, high) in class_intervals(counts, effects).items() if labels else ():
        values = by_class(counts, kind)
        for number in np.flatnonzero(counts.true):
            found[f"{kind}:{labels[number]}"] = (values[number], low[number], high[number])
    return found


def _effects(truth: np.ndarray, predicted: np.ndarray, counts: Margins, clusters: Clusters) -> Effects:
    """Design effects: by metric a number; of precision, recall and F1 of single classes [classes] each."""
    if clusters.single:
        return {}
    classes, present = len(counts.true), counts.true > 0
    found: dict[str, float | np.ndarray] = {}
    for name, metric in COUNT_METRICS.items():
        slopes = metric.both(counts, present)[1]
        found[name] = clusters.design_effect(slopes.at(truth, predicted), truth)
    right, wrong, rows = truth == predicted, np.flatnonzero(truth != predicted), np.arange(len(truth))
    # For F1, the rows that are of a class or predicted to be; the hits are those for which both hold.
    either, parts = np.concatenate([rows, wrong]), np.concatenate([truth, predicted[wrong]])
    found["precision"] = clusters.share_effects(rows, predicted, right, classes)
    found["recall"] = clusters.share_effects(rows, truth, right, classes)
    found["f1"] = clusters.share_effects(either, parts, right[either], classes)
    return found


def _of_areas(truth: np.ndarray, probabilities: np.ndarray, clusters: Clusters) -> Intervals:
    found = {}
    for name, areas, interval in (("roc_auc", roc_by_class, roc_interval), ("pr_auc", pr_by_class, pr_interval)):
        mean, classes = areas(truth, probabilities, clusters)
        if mean is not None:
            found[name] = (mean[0], *interval(classes, clusters.error(mean[1], truth)))
    return found


def _of_rows(truth: np.ndarray, probabilities: np.ndarray, names: set[str], clusters: Clusters) -> Intervals:
    """Metrics without an interval of their own get the normal one."""
    found = {}
    for name in sorted(names):
        measured = ROW_METRICS[name].measure(truth, probabilities)
        if measured is not None:
            value, influences = measured
            reach = NORMAL * clusters.error(influences, truth)
            found[name] = (value, value - reach, value + reach)
    return found


def _bounded(name: str, value: float, low: float, high: float) -> dict[str, float]:
    least, most = metric_range(name)
    value = min(max(value, least), most)  # rounding
    return {"value": value, "low": max(min(low, value), least), "high": min(max(high, value), most)}
