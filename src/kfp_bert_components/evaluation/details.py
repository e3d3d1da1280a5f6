"""What the page of an evaluation shows beside the metrics: classes, slices, confusions, calibration, mistakes."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from kfp_bert_components.data.splits import examples
from kfp_bert_components.evaluation.count_intervals import wilson
from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS, by_class, confusion, margins
from kfp_bert_components.evaluation.records import Evaluation
from kfp_bert_components.evaluation.row_metrics import reliability
from kfp_bert_components.evaluation.slices import SEEN, UNSEEN, seen_in_train
from kfp_bert_components.plain import listed

# A class with fewer test rows than this is not spoken of as one that was lost.
FEWEST_FOR_A_CLASS = 20
# F1 below which more answers about a class are wrong than right.
WEAK_F1 = 0.5
MISTAKES = 25
CLASSES = 40
SLICES = 40


class PartMetric(NamedTuple):
    """A metric on a part of the test set.

    Attributes:
        name: Of the class or slice.
        rows: Test rows in it.
        value: The metric.
        low: Lower end of its 95 % interval.
        high: Upper end of it.
        size: Its rows, with the number of texts or groups among them if that is smaller: "38 rows, 3 texts".
    """

    name: str
    rows: int
    value: float
    low: float
    high: float
    size: str = ""


class SeenPart(NamedTuple):
    """The test rows whose text the train split has, or the others.

    Attributes:
        name: SEEN or UNSEEN of `slices`.
        share: Of the test rows, 0 to 1.
        accuracy: With its rows and interval.
        macro_f1: Over the classes of these rows.
    """

    name: str
    share: float
    accuracy: PartMetric
    macro_f1: float


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
        slices: Accuracy of the slices that have rows; of more than 40 those with the lowest upper ends, in ascending
            order.
        more_slices: How many slices with rows are left out there.
        empty_slices: The slices without a row: rules that match none.
        seen: The test rows whose text train has, and the others; empty where there are not both.
        all_new: Whether it is known that train has no text of the test rows.
        confusion: Rows by true and predicted class, int [classes, classes].
        reliability: Bins of the reliability diagram; see `row_metrics.reliability`.
        mistakes: The 25 mistakes with the highest probabilities.
        weak_points: Sentences that the page begins with.
    """

    classes: list[PartMetric]
    slices: list[PartMetric]
    seen: list[SeenPart]
    all_new: bool
    confusion: np.ndarray
    reliability: list[dict[str, float]]
    mistakes: list[Mistake]
    weak_points: list[str] = field(default_factory=list)
    more_slices: int = 0
    empty_slices: list[str] = field(default_factory=list)


def details(evaluation: Evaluation) -> Details:
    """Look at an evaluation, which must not be empty, more closely."""
    truth, probabilities = evaluation.truth(), evaluation.probabilities()
    predicted = probabilities.argmax(1)
    counts = confusion(truth, predicted, len(evaluation.labels))
    slices = _slices(evaluation, truth == predicted)
    shown = slices if len(slices) <= SLICES else sorted(slices, key=lambda one: (one.high, one.value))[:SLICES]
    with_rows = {one.name for one in slices}
    assert evaluation.predictions is not None
    seen = seen_in_train(evaluation.predictions)
    return Details(
        classes=_classes(evaluation, truth),
        slices=[one._replace(size=evaluation.size(evaluation.members(one.name))) for one in shown],
        seen=[_seen(evaluation, one, truth, predicted) for one in slices if one.name in (SEEN, UNSEEN)],
        all_new=seen is not None and not seen.any(),
        confusion=counts,
        reliability=reliability(truth, probabilities),
        mistakes=_mistakes(evaluation, truth, predicted, probabilities.max(1)),
        weak_points=weak_points(evaluation),
        more_slices=len(slices) - len(shown),
        empty_slices=[name for name in evaluation.slices if name not in with_rows],
    )


def lost_classes(evaluation: Evaluation) -> list[str]:
    """The classes with 20 test rows or more and F1 0."""
    rows, f1 = evaluation.class_rows(), by_class(evaluation.margins(), "f1")
    return [evaluation.labels[i] for i in np.flatnonzero((rows >= FEWEST_FOR_A_CLASS) & (f1 == 0))]


def weak_points(evaluation: Evaluation) -> list[str]:
    """What a reader must see first of all, in sentences: classes never predicted, and figures that are very low."""
    counts, rows = evaluation.margins(), evaluation.class_rows()
    f1, (right, true, predicted) = by_class(counts, "f1"), counts
    found = []
    if never := [evaluation.labels[i] for i in np.flatnonzero((true > 0) & (predicted == 0))]:
        found.append(f"The model never predicts {listed(never)}.")
    low = (rows >= FEWEST_FOR_A_CLASS) & (f1 < WEAK_F1) & (predicted > 0)
    if weak := [evaluation.labels[i] for i in np.flatnonzero(low)]:
        found.append(f"More answers about {listed(weak)} are wrong than right: F1 is below {WEAK_F1}.")
    if evaluation.few_clusters():
        found.append(
            f"The {evaluation.size()} are too few {evaluation.unit} to say how sure a metric is. Where nothing is "
            "known of that, its interval is its whole range."
        )
    if right.sum() <= true.max():
        found.append("The model is right no more often than always saying the most frequent class would be.")
    return found


def _classes(evaluation: Evaluation, truth: np.ndarray) -> list[PartMetric]:
    known = [number for number, label in enumerate(evaluation.labels) if f"f1:{label}" in evaluation.metrics]
    lowest = sorted(known, key=lambda number: evaluation.metrics[f"f1:{evaluation.labels[number]}"]["value"])[:CLASSES]
    found = []
    for number in lowest:
        label, rows = evaluation.labels[number], truth == number
        metric = evaluation.metrics[f"f1:{label}"]
        found.append(PartMetric(label, int(rows.sum()), **metric, size=evaluation.size(rows)))
    return found


def _slices(evaluation: Evaluation, right: np.ndarray) -> list[PartMetric]:
    """Accuracy of every slice with rows and Wilson's 95 % interval (1927), as in `metrics_with_intervals`."""
    clusters, found = evaluation.clusters(), []
    for name in evaluation.slices:
        rows = np.flatnonzero(evaluation.members(name))
        if len(rows):
            hits, whole = right[rows], np.zeros(len(rows), np.int64)
            effect = clusters.of(rows).share_effects(np.arange(len(rows)), whole, hits, 1)
            low, high = wilson(hits.sum() / effect, len(rows) / effect)[:, 0]
            found.append(PartMetric(name, len(rows), hits.mean(), low, high))
    return found


def _seen(evaluation: Evaluation, part: PartMetric, truth: np.ndarray, predicted: np.ndarray) -> SeenPart:
    rows = evaluation.members(part.name)
    counts = margins(truth[rows], predicted[rows], len(evaluation.labels))
    macro_f1 = COUNT_METRICS["macro_f1"].value(counts, counts.true > 0)
    return SeenPart(part.name, float(rows.mean()), part, float(macro_f1))


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
