"""Metrics of probabilities, each as a value and the influence of every row on it: add such a metric here.

The influence of row i is n times the derivative of the metric by the weight of that row; it sums to 0, and the
mean of its square over n is the squared standard error (infinitesimal jackknife, Efron 1982). For ROC-AUC that is
DeLong's variance (DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44) but for terms of order 1/n.

A metric that is added to ROW_METRICS is measured by every evaluation, is shown on the pages, and may be the primary
metric or have a threshold in a policy. Its interval is the normal one, from the influences.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kfp_bert_components.evaluation.clusters import Clusters

BINS = 15
# A probability of exactly 0 for the true class would make the log loss of the whole test set infinite.
FLOOR = 1e-7

Measured = tuple[float, np.ndarray]
# Value, influences and bias.
Area = tuple[float, np.ndarray, float]


@dataclass(frozen=True)
class RowMetric:
    """A metric of probabilities.

    Attributes:
        measure: Maps true classes int [rows] and probabilities [rows, classes] to the value and the influence of
            each row, [rows]; to None where the metric is not defined.
        title: The metric's name on pages and in sentences.
        most: The highest value that it can have; the lowest is 0.
        lower_is_better: Whether a lower value is the better one.
    """

    measure: Callable[[np.ndarray, np.ndarray], Measured | None]
    title: str
    most: float = 1.0
    lower_is_better: bool = False


class ClassArea(NamedTuple):
    """Area under the curve of one class against the rest.

    Attributes:
        positives: Rows of the class; where rows are no evidence of their own, as many as are as good as these.
        negatives: The same of the others.
        value: The area.
        error: Its standard error.
        bias: How much too high the area is on average with so few rows; 0 for ROC-AUC.
    """

    positives: float
    negatives: float
    value: float
    error: float
    bias: float = 0.0


def row_log_loss(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of each row's true class in nats, [rows]; probabilities below 1e-7 count as 1e-7."""
    chosen = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return -np.log(np.clip(chosen, FLOOR, 1.0))


def row_brier(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Squared distance of each row's probabilities from the truth, 0 to 2 (Brier 1950), [rows]."""
    chosen = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    squares = np.einsum("ij,ij->i", probabilities, probabilities, dtype=np.float64)
    return squares - 2 * chosen + 1


def log_loss(truth: np.ndarray, probabilities: np.ndarray) -> Measured:
    """Mean negative log-likelihood of the true class, in nats."""
    return _mean(row_log_loss(truth, probabilities))


def brier(truth: np.ndarray, probabilities: np.ndarray) -> Measured:
    """Mean squared distance of the probabilities from the truth, summed over the classes."""
    return _mean(row_brier(truth, probabilities))


def ece(truth: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> Measured:
    """Expected calibration error of the most likely class, equal-width bins (Guo et al. 2017, ICML)."""
    _, gap, bin_ = by_confidence(truth, probabilities, bins)
    signs = np.sign(np.bincount(bin_, gap, bins))[bin_]
    return _mean(signs * gap)


def reliability(truth: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> list[dict[str, float]]:
    """Mean confidence, share right and rows of every bin that has rows, for the reliability diagram."""
    confidence, gap, bin_ = by_confidence(truth, probabilities, bins)
    rows = np.bincount(bin_, minlength=bins)
    confidences, gaps = np.bincount(bin_, confidence, bins), np.bincount(bin_, gap, bins)
    return [
        {"confidence": confidences[b] / rows[b], "accuracy": (confidences[b] - gaps[b]) / rows[b], "rows": int(rows[b])}
        for b in range(bins)
        if rows[b]
    ]


def roc_auc(truth: np.ndarray, probabilities: np.ndarray) -> Measured | None:
    """Mean over the classes of the area under the ROC curve, each against the rest; None if none is defined."""
    return roc_by_class(truth, probabilities)[0]


def roc_by_class(
    truth: np.ndarray, probabilities: np.ndarray, clusters: Clusters | None = None
) -> tuple[Measured | None, list[ClassArea]]:
    """`roc_auc`, and what it is the mean of."""
    return _one_against_rest(truth, probabilities, _auc, clusters)


def pr_auc(truth: np.ndarray, probabilities: np.ndarray) -> Measured | None:
    """Mean over the classes of average precision, each against the rest; None if none is defined."""
    return pr_by_class(truth, probabilities)[0]


def pr_by_class(
    truth: np.ndarray, probabilities: np.ndarray, clusters: Clusters | None = None
) -> tuple[Measured | None, list[ClassArea]]:
    """`pr_auc`, and what it is the mean of."""
    return _one_against_rest(truth, probabilities, _average_precision, clusters)


ROW_METRICS: dict[str, RowMetric] = {
    "log_loss": RowMetric(log_loss, "log loss", most=-np.log(FLOOR), lower_is_better=True),
    "brier": RowMetric(brier, "Brier score", most=2.0, lower_is_better=True),
    "ece": RowMetric(ece, "calibration error (ECE)", lower_is_better=True),
    "roc_auc": RowMetric(roc_auc, "ROC-AUC"),
    "pr_auc": RowMetric(pr_auc, "PR-AUC"),
}


def _mean(rows: np.ndarray) -> Measured:
    value = float(rows.mean())
    return value, rows - value


def by_confidence(truth: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> tuple[np.ndarray, ...]:
    """Of each row: the confidence, its gap (confidence minus 1 if right, minus 0 if wrong), and its bin; [rows] each.

    The confidence is the probability of the predicted class.
    """
    predicted = probabilities.argmax(1)
    confidence = probabilities[np.arange(len(predicted)), predicted].astype(np.float64)
    # Bins are open below and closed above, as in the paper.
    bin_ = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    return confidence, confidence - (predicted == truth), bin_


def _one_against_rest(
    truth: np.ndarray,
    probabilities: np.ndarray,
    area: Callable[[np.ndarray, np.ndarray], Area],
    clusters: Clusters | None,
) -> tuple[Measured | None, list[ClassArea]]:
    total, influence, classes = 0.0, np.zeros(len(truth)), []
    for number in range(probabilities.shape[1]):
        positive = truth == number
        if 0 < positive.sum() < len(truth):
            value, part, bias = area(positive, np.ascontiguousarray(probabilities[:, number]))
            total += value
            influence += part
            effect = clusters.design_effect(part, positive.astype(np.int64)) if clusters else 1.0
            rows, error = int(positive.sum()), float(np.sqrt((part**2).sum() * effect)) / len(truth)
            fewer = max(rows / effect, 1.0), max((len(truth) - rows) / effect, 1.0)
            classes.append(ClassArea(*fewer, value, error, bias))
    return ((total / len(classes), influence / len(classes)) if classes else None), classes


def _auc(positive: np.ndarray, scores: np.ndarray) -> Area:
    """Area under the ROC curve, each row's influence, and no bias.

    The area is the share of pairs of a positive and a negative row that the scores put in order; ties count half.
    """
    order = np.argsort(scores)
    ordered, hit = scores[order], positive[order]
    start, stop = _ties(ordered)
    wins = np.concatenate([[0], np.cumsum(hit)])
    lower_pos, equal_pos = wins[start], wins[stop] - wins[start]
    lower_neg, equal_neg = start - lower_pos, (stop - start) - equal_pos
    positives, negatives, rows = int(wins[-1]), len(hit) - int(wins[-1]), len(hit)
    beaten = (lower_neg + 0.5 * equal_neg) / negatives
    beating = (positives - lower_pos - 0.5 * equal_pos) / positives
    value = float(beaten[hit].mean())
    influence = np.empty(rows)
    influence[order] = np.where(hit, (beaten - value) * (rows / positives), (beating - value) * (rows / negatives))
    return value, influence, 0.0


def _average_precision(positive: np.ndarray, scores: np.ndarray) -> Area:
    """Average precision (mean precision at the rank of each positive row), each row's influence, and the bias.

    The bias comes from each positive row counting itself among the rows down to its rank, so it is measured by leaving
    the row out. The highest positive row may have no row above it; there the precision of the next one is taken.
    """
    order = np.argsort(-scores)
    ordered, hit = -scores[order], positive[order].astype(np.float64)
    start, stop = _ties(ordered)
    found = np.cumsum(hit)[stop - 1]
    precision = found / stop
    positives, rows = hit.sum(), len(hit)
    value = float((precision * hit).sum() / positives)
    # A row of more weight at rank r adds to the precision of every positive at r or below it.
    gain = np.concatenate([np.cumsum((hit / stop)[::-1])[::-1], [0.0]])[start]
    cost = np.concatenate([np.cumsum((hit * found / stop**2)[::-1])[::-1], [0.0]])[start]
    influence = np.empty(rows)
    influence[order] = (hit * (precision - value + gain) - cost) * (rows / positives)
    others, at = found[hit > 0] - 1, stop[hit > 0] - 1
    alone = others / np.maximum(at, 1)
    if at[0] == 0:
        alone[0] = alone[1] if positives > 1 else 1.0
    return value, influence, value - float(alone.mean())


def _ties(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each value of a sorted array, where the run of values equal to it starts, and where it stops (exclusive)."""
    new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    starts = np.flatnonzero(new)
    run = np.cumsum(new) - 1
    return starts[run], np.append(starts[1:], len(ordered))[run]
