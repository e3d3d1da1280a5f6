"""The paired difference of two models on any metric, by the test that fits it."""

import numpy as np

from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS, CountMetric, of_class
from kfp_bert_components.evaluation.row_metrics import LOWER_IS_BETTER, ROW_METRICS
from kfp_bert_components.gate.exam import Exam
from kfp_bert_components.gate.pivot import Pivot
from kfp_bert_components.gate.swaps import PERMUTATIONS, pivot_of_accuracy, pivot_of_counts, pivot_of_rows

# Names and sources of the tests, for the report.
METHODS = {
    "accuracy": "exact McNemar test (McNemar 1947; binomial)",
    "counts": "studentised paired permutation test (Chung and Romano 2013)",
    "tilted": "studentised bootstrap of the rows, weighted to have the difference that is tested (Efron 1981)",
    "rows": "studentised paired permutation test on the influence of each row (Chung and Romano 2013; Efron 1982)",
}
_MANY_CELLS = 500


def difference(exam: Exam, metric: str, draws: int = PERMUTATIONS, delta: float = 0.0) -> tuple[Pivot, str]:
    """Candidate minus champion, positive where the candidate is better, with its reference distribution.

    Args:
        exam: The two models' predictions.
        metric: Name of a metric.
        draws: Random swaps, fewer where classes are many.
        delta: The difference that will be tested, from a policy or a guardrail.

    Returns:
        The pivot, and a key of METHODS.

    Raises:
        UserError: The metric is not defined on this test set.
    """
    if metric == "accuracy":
        wins, losses = exam.flips
        pivot = pivot_of_accuracy(int(wins.sum()), int(losses.sum()), exam.rows, delta)
        return pivot, "tilted" if delta else "accuracy"
    if metric in ROW_METRICS:
        return _of_rows(exam, metric, draws), "rows"
    found = COUNT_METRICS.get(metric) or _of_class(exam, metric)
    cells, sizes = exam.cells
    if len(sizes) > _MANY_CELLS:
        # The primary metric keeps an exact test; for the many others the normal limit is as good by then.
        draws = 1_999 if draws == PERMUTATIONS else 0
    pivot = pivot_of_counts(found, cells, sizes, exam.present, draws, delta=delta)
    return pivot, "tilted" if delta else "counts"


def scores(exam: Exam, metric: str) -> tuple[float, float]:
    """Values of candidate and champion."""
    if metric in ROW_METRICS:
        both = (ROW_METRICS[metric](exam.truth, part) for part in (exam.candidate, exam.champion))
        return tuple(0.0 if one is None else one[0] for one in both)  # type: ignore[return-value]
    found = COUNT_METRICS.get(metric) or _of_class(exam, metric)
    return tuple(float(found.value(one, exam.present)) for one in exam.confusions())  # type: ignore[return-value]


def _of_class(exam: Exam, metric: str) -> CountMetric:
    kind, _, label = metric.partition(":")
    if label not in exam.labels or not exam.present[exam.labels.index(label)]:
        raise UserError(f"{metric} needs rows of the class {label!r} in the test set; it has {', '.join(exam.labels)}.")
    return of_class(kind, exam.labels.index(label))


def _of_rows(exam: Exam, metric: str, draws: int) -> Pivot:
    sign = -1 if metric in LOWER_IS_BETTER else 1
    measured = [ROW_METRICS[metric](exam.truth, part) for part in (exam.candidate, exam.champion)]
    if measured[0] is None or measured[1] is None:
        raise UserError(f"{metric} is not defined on a test set with rows of one class only; add rows of others.")
    value = sign * (measured[0][0] - measured[1][0])
    if np.array_equal(exam.candidate, exam.champion):
        value = 0.0
    return pivot_of_rows(sign * (measured[0][1] - measured[1][1]), value, draws)
