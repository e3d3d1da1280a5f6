"""The paired difference of two models on any metric, by the test that fits it."""

from dataclasses import replace

import numpy as np

from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation.clusters import Clusters
from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS, CountMetric, of_class
from kfp_bert_components.evaluation.names import metric_range
from kfp_bert_components.evaluation.row_metrics import ROW_METRICS
from kfp_bert_components.gate.paired import PairedPredictions
from kfp_bert_components.gate.pivot import Pivot
from kfp_bert_components.gate.swaps import PERMUTATIONS, pivot_of_counts, pivot_of_flips, pivot_of_rows
from kfp_bert_components.plain import listed

# Names and sources of the tests, for the report.
METHODS = {
    "accuracy": "exact McNemar test (McNemar 1947; binomial)",
    "clusters": "studentised paired permutation test of repeated texts or groups (Cameron, Gelbach and Miller 2008)",
    "counts": "studentised paired permutation test (Chung and Romano 2013)",
    "tilted": "studentised bootstrap of the rows, weighted to have the difference that is tested (Efron 1981)",
    "rows": "studentised paired permutation test on the influence of each row (Chung and Romano 2013; Efron 1982)",
}
_MANY_CELLS = 500
# A class with fewer effective texts can hide a loss from swaps: of accuracy, and of metrics to which each class counts
# alike. See docs/gate.md for the simulations.
_FEWEST_OF_A_CLASS, _FEWEST_IN_AVERAGES = 10, 30


def difference(
    paired: PairedPredictions, metric: str, draws: int = PERMUTATIONS, delta: float = 0.0, seed: int = 0
) -> tuple[Pivot, str]:
    """Candidate minus champion, positive where the candidate is better, with its reference distribution.

    Args:
        paired: The two models' predictions.
        metric: Name of a metric.
        draws: Random swaps; where cells are many, 1,999 for the primary metric and none for others.
        delta: The difference that will be tested, from a policy or a guardrail.
        seed: Seed of the draws.

    Returns:
        The pivot, and a key of METHODS.

    Raises:
        UserError: The metric is not defined on this test set.
    """
    pivot, method = _difference(paired, metric, draws, delta, seed)
    least, most = metric_range(metric)
    return replace(pivot, most=most - least), method


def _difference(paired: PairedPredictions, metric: str, draws: int, delta: float, seed: int) -> tuple[Pivot, str]:
    fewest = _FEWEST_OF_A_CLASS if metric == "accuracy" else _FEWEST_IN_AVERAGES
    drawn = _drawn(paired.clusters, paired.truth, delta, fewest)
    if metric == "accuracy":
        pivot = accuracy_pivot(paired, np.arange(paired.rows), delta)
        return pivot, "tilted" if drawn else "accuracy" if paired.clusters.single else "clusters"
    if metric in ROW_METRICS:
        return _of_rows(paired, metric, draws, seed, delta), "rows"
    if paired.table.cells > _MANY_CELLS:
        # The primary metric keeps an exact test; for the many others the normal limit is as good by then.
        draws = 1_999 if draws == PERMUTATIONS else 0
    found = _count_metric(paired, metric)
    pivot = pivot_of_counts(found, paired.table, draws, seed, drawn)
    if not paired.clusters.single:
        one, two = (
            found.both(counts, paired.present)[1].at(paired.truth, said)
            for counts, said in zip(paired.margins, paired.predicted, strict=True)
        )
        pivot = _for_other_texts(pivot, one - two, paired.clusters, paired.truth, delta)
    return pivot, "tilted" if drawn else "counts"


def accuracy_pivot(paired: PairedPredictions, rows: np.ndarray, delta: float, draws: int = PERMUTATIONS) -> Pivot:
    """Difference of accuracy on some rows, int [rows], to be tested against `delta`."""
    won, lost = (part[rows] for part in paired.flips)
    clusters = paired.clusters.of(rows)
    drawn = _drawn(clusters, paired.truth[rows], delta, _FEWEST_OF_A_CLASS)
    pivot = pivot_of_flips(won, lost, clusters.numbers, drawn, draws)
    pivot = _for_other_texts(pivot, won.astype(np.float64) - lost, clusters, paired.truth[rows], delta)
    return replace(pivot, most=1.0)


def _drawn(clusters: Clusters, truth: np.ndarray, delta: float, fewest: int) -> float:
    """The difference that drawn clusters have; 0 for swaps.

    Texts of very unequal weight keep the swaps, moved by `delta`: those of the seen texts that happen to have the same
    answer from both models would have it in every draw. But where a loss is allowed and a class counts as fewer than
    `fewest` texts, what these have in common by chance can hide a loss, so they are drawn as well: that is stricter.
    """
    if clusters.single or not clusters.copies:
        return delta
    effective = clusters.by_part(truth, int(truth.max(initial=-1)) + 1)
    return delta if delta < 0 and (effective[effective > 0] < fewest).any() else 0.0


def _for_other_texts(pivot: Pivot, gains: np.ndarray, clusters: Clusters, truth: np.ndarray, delta: float) -> Pivot:
    """Allow for texts that occur often and happen to have, or not to have, the same answer from both models here.

    Swaps take the texts as they are, and are exact for a difference of 0. An estimate is about other texts too, and so
    is a test of another difference, which is never less strict for it.

    Args:
        pivot: The difference.
        gains: What each row adds to it, [rows].
        clusters: Which rows are evidence only together.
        truth: Numbers of the true classes, int [rows].
        delta: The difference that will be tested.
    """
    spread = clusters.spread(gains - gains.mean(), truth)
    stricter = max(spread, 1.0) if delta else 1.0
    return replace(pivot, error=pivot.error * stricter, spread=spread / stricter)


def scores(paired: PairedPredictions, metric: str) -> tuple[float, float]:
    """The metric's values for candidate and champion; 0 where it is not defined."""
    if metric in ROW_METRICS:
        measured = _measured(paired, metric)
        candidate, champion = (0.0 if one is None else one[0] for one in measured)
    else:
        found = _count_metric(paired, metric)
        candidate, champion = (float(found.value(counts, paired.present)) for counts in paired.margins)
    return candidate, champion


def _count_metric(paired: PairedPredictions, metric: str) -> CountMetric:
    """A metric of the confusion matrix by its name, also one of a single class."""
    if metric in COUNT_METRICS:
        return COUNT_METRICS[metric]
    kind, _, label = metric.partition(":")
    labels = paired.labels
    if label not in labels or not paired.present[labels.index(label)]:
        raise UserError(f"{metric} needs rows of the class {label!r} in the test set; it has {listed(labels)}.")
    return of_class(kind, labels.index(label))


def _measured(paired: PairedPredictions, metric: str) -> list[tuple[float, np.ndarray] | None]:
    """Value and influences of a metric of probabilities, for candidate and champion."""
    measure = ROW_METRICS[metric].measure
    return [measure(paired.truth, probabilities) for probabilities in (paired.candidate, paired.champion)]


def _of_rows(paired: PairedPredictions, metric: str, draws: int, seed: int, delta: float) -> Pivot:
    sign = -1 if ROW_METRICS[metric].lower_is_better else 1
    candidate, champion = _measured(paired, metric)
    if candidate is None or champion is None:
        raise UserError(f"{metric} is not defined on a test set with rows of one class only; add rows of others.")
    same = np.array_equal(paired.candidate, paired.champion)
    value = 0.0 if same else sign * (candidate[0] - champion[0])
    gains = sign * (candidate[1] - champion[1])
    pivot = pivot_of_rows(gains, value, draws, seed, clusters=paired.clusters.numbers)
    return _for_other_texts(pivot, gains, paired.clusters, paired.truth, delta)
