"""The paired difference of two models on any metric, by the test that fits it."""

import numpy as np

from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS, CountMetric, of_class
from kfp_bert_components.evaluation.row_metrics import ROW_METRICS
from kfp_bert_components.gate.paired import PairedPredictions
from kfp_bert_components.gate.pivot import Pivot
from kfp_bert_components.gate.swaps import PERMUTATIONS, pivot_of_accuracy, pivot_of_counts, pivot_of_rows
from kfp_bert_components.plain import listed

# Names and sources of the tests, for the report.
METHODS = {
    "accuracy": "exact McNemar test (McNemar 1947; binomial)",
    "counts": "studentised paired permutation test (Chung and Romano 2013)",
    "tilted": "studentised bootstrap of the rows, weighted to have the difference that is tested (Efron 1981)",
    "rows": "studentised paired permutation test on the influence of each row (Chung and Romano 2013; Efron 1982)",
}
_MANY_CELLS = 500


def difference(
    paired: PairedPredictions, metric: str, draws: int = PERMUTATIONS, delta: float = 0.0
) -> tuple[Pivot, str]:
    """Candidate minus champion, positive where the candidate is better, with its reference distribution.

    Args:
        paired: The two models' predictions.
        metric: Name of a metric.
        draws: Random swaps, fewer where classes are many.
        delta: The difference that will be tested, from a policy or a guardrail.

    Returns:
        The pivot, and a key of METHODS.

    Raises:
        UserError: The metric is not defined on this test set.
    """
    if metric == "accuracy":
        wins, losses = paired.flips
        pivot = pivot_of_accuracy(int(wins.sum()), int(losses.sum()), paired.rows, delta)
        return pivot, "tilted" if delta else "accuracy"
    if metric in ROW_METRICS:
        return _of_rows(paired, metric, draws), "rows"
    cells, sizes = paired.cells
    if len(sizes) > _MANY_CELLS:
        # The primary metric keeps an exact test; for the many others the normal limit is as good by then.
        draws = 1_999 if draws == PERMUTATIONS else 0
    pivot = pivot_of_counts(_count_metric(paired, metric), cells, sizes, paired.present, draws, delta=delta)
    return pivot, "tilted" if delta else "counts"


def scores(paired: PairedPredictions, metric: str) -> tuple[float, float]:
    """The metric's values for candidate and champion; 0 where it is not defined."""
    if metric in ROW_METRICS:
        measured = _measured(paired, metric)
        candidate, champion = (0.0 if one is None else one[0] for one in measured)
    else:
        found = _count_metric(paired, metric)
        candidate, champion = (float(found.value(counts, paired.present)) for counts in paired.confusions())
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


def _of_rows(paired: PairedPredictions, metric: str, draws: int) -> Pivot:
    sign = -1 if ROW_METRICS[metric].lower_is_better else 1
    candidate, champion = _measured(paired, metric)
    if candidate is None or champion is None:
        raise UserError(f"{metric} is not defined on a test set with rows of one class only; add rows of others.")
    same = np.array_equal(paired.candidate, paired.champion)
    value = 0.0 if same else sign * (candidate[0] - champion[0])
    return pivot_of_rows(sign * (candidate[1] - champion[1]), value, draws)
