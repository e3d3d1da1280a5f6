"""What the page of an evaluation shows beside the metrics: classes, slices, confusions, calibration, mistakes."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from kfp_bert_components.data.splits import examples
from kfp_bert_components.evaluation.count_metrics import by_class, confusion
from kfp_bert_components.evaluation.records import Evaluation
from kfp_bert_components.evaluation.row_metrics import reliability
from kfp_bert_components.plain import listed

# A class with fewer test rows than this is not spoken of as one that was lost.
FEWEST_FOR_A_CLASS = 20
# F1 below which more answers about a class are wrong than right.
WEAK_F1 = 0.5
MISTAKES = 25
CLASSES = 40


class PartMetric(NamedTuple):
    """A metric on a part of the test set.

    Attributes:
        name: Of the class or slice.
        rows: Test rows in it.
        value: The metric.
        low: Lower end of its 95 % interval.
        high: Upper end of it.
    """

    name: str
    rows: int
    value: float
    low: float
    high: float


class Mistake(NamedTuple):
    """A wrong answer, with the probability that the model gave it; see `data.splits.Example` for text and place."""

    text: str
    label: str
    predicted: str
    probability: float
    place: str = ""


@dataclass(frozen=True)
class Details:
    """Parts of an evaluation, for its page.

    Attributes:
        classes: F1 of the classes, the 40 lowest, in ascending order.
        slices: Accuracy of every slice.
        confusion: Rows by true and predicted class, int [classes, classes].
        reliability: Bins of the reliability diagram; see `row_metrics.reliability`.
        mistakes: The 25 mistakes with the highest probabilities.
        weak_points: Sentences that the page begins with.
    """

    classes: list[PartMetric]
    slices: list[PartMetric]
    confusion: np.ndarray
    reliability: list[dict[str, float]]
    mistakes: list[Mistake]
    weak_points: list[str] = field(default_factory=list)


def details(evaluation: Evaluation) -> Details:
    """Look at an evaluation, which must not be empty, more closely."""
    truth, probabilities = evaluation.truth(), evaluation.probabilities()
    predicted = probabilities.argmax(1)
    counts = confusion(truth, predicted, len(evaluation.labels))
    return Details(
        classes=_classes(evaluation, counts.sum(1)),
        slices=_slices(evaluation, truth == predicted),
        confusion=counts,
        reliability=reliability(truth, probabilities),
        mistakes=_mistakes(evaluation, truth, predicted, probabilities.max(1)),
        weak_points=weak_points(evaluation),
    )


def lost_classes(evaluation: Evaluation) -> list[str]:
    """The classes with 20 test rows or more and F1 0."""
    rows, f1 = evaluation.class_rows(), by_class(np.array(evaluation.confusion()), "f1")
    return [evaluation.labels[i] for i in np.flatnonzero((rows >= FEWEST_FOR_A_CLASS) & (f1 == 0))]


def weak_points(evaluation: Evaluation) -> list[str]:
    """What a reader must see first of all, in sentences: classes never predicted, and figures that are very low."""
    counts, rows = np.array(evaluation.confusion()), evaluation.class_rows()
    f1, true, predicted = by_class(counts, "f1"), counts.sum(1), counts.sum(0)
    found = []
    if never := [evaluation.labels[i] for i in np.flatnonzero((true > 0) & (predicted == 0))]:
        found.append(f"The model never predicts {listed(never)}.")
    low = (rows >= FEWEST_FOR_A_CLASS) & (f1 < WEAK_F1) & (predicted > 0)
    if weak := [evaluation.labels[i] for i in np.flatnonzero(low)]:
        found.append(f"More answers about {listed(weak)} are wrong than right: F1 is below {WEAK_F1}.")
    if np.trace(counts) <= true.max():
        found.append("The model is right no more often than always saying the most frequent class would be.")
    return found


def _classes(evaluation: Evaluation, rows: np.ndarray) -> list[PartMetric]:
    found = [
        PartMetric(label, int(rows[number]), **evaluation.metrics[f"f1:{label}"])
        for number, label in enumerate(evaluation.labels)
        if f"f1:{label}" in evaluation.metrics
    ]
    return sorted(found, key=lambda one: one.value)[:CLASSES]


def _slices(evaluation: Evaluation, right: np.ndarray) -> list[PartMetric]:
    """Accuracy of every slice with Wilson's 95 % interval (Wilson 1927)."""
    from scipy.stats import binomtest

    found = []
    for name in evaluation.slices:
        rows = evaluation.members(name)
        if rows.any():
            test = binomtest(int(right[rows].sum()), int(rows.sum()))
            found.append(PartMetric(name, int(rows.sum()), test.statistic, *test.proportion_ci(0.95, "wilson")))
    return found


def _mistakes(
    evaluation: Evaluation, truth: np.ndarray, predicted: np.ndarray, confidence: np.ndarray
) -> list[Mistake]:
    assert evaluation.predictions is not None
    wrong = np.flatnonzero(predicted != truth)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    labels = evaluation.labels
    return [
        Mistake(text, labels[truth[i]], labels[predicted[i]], float(confidence[i]), place)
        for (text, place), i in zip(examples(evaluation.predictions, wrong), wrong, strict=True)
    ]
