"""What changed from champion to candidate: what the page of a comparison shows beside the decision."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from kfp_bert_components.data.splits import examples
from kfp_bert_components.evaluation import Evaluation
from kfp_bert_components.evaluation.details import PartMetric, weak_points
from kfp_bert_components.evaluation.row_metrics import reliability
from kfp_bert_components.gate.comparison import Comparison
from kfp_bert_components.gate.difference import difference
from kfp_bert_components.gate.guardrails import slice_pivot, slices_of
from kfp_bert_components.gate.paired import PairedPredictions
from kfp_bert_components.gate.pivot import Pivot

MOST_FLIPS = 15
MOST_PARTS = 30
_DRAWS = 999


class Flip(NamedTuple):
    """A row that only one of the two models has right: its text, true class, what each answers, and place."""

    text: str
    label: str
    champion: str
    candidate: str
    place: str = ""


@dataclass(frozen=True)
class Changes:
    """What the page of a comparison shows. Without a champion only the candidate is in it.

    Attributes:
        confusions: By model ("candidate", "champion"), rows by true and predicted class, int [classes, classes].
        reliability: By model, the bins of the reliability diagram.
        newly_right: How many rows only the candidate has right.
        newly_wrong: How many rows only the champion has right.
        classes: Change of F1 of the 30 largest classes.
        slices: Change of accuracy of the slices that have rows; of more than 30 those that lost most clearly.
        more_slices: How many slices with rows are left out there.
        empty_slices: The slices without a row.
        won: Up to 15 rows that only the candidate has right, largest change of probability first.
        lost: The same of those that only the champion has right.
        weak_points: What is very low in the candidate, in sentences.
    """

    confusions: dict[str, np.ndarray]
    reliability: dict[str, list[dict[str, float]]]
    newly_right: int
    newly_wrong: int
    classes: list[PartMetric] = field(default_factory=list)
    slices: list[PartMetric] = field(default_factory=list)
    won: list[Flip] = field(default_factory=list)
    lost: list[Flip] = field(default_factory=list)
    weak_points: list[str] = field(default_factory=list)
    more_slices: int = 0
    empty_slices: list[str] = field(default_factory=list)


def changes(comparison: Comparison) -> Changes:
    """Look at a comparison more closely."""
    paired, candidate = comparison.paired, comparison.candidate
    models = {"candidate": paired.candidate, "champion": paired.champion}
    if comparison.champion.empty:
        del models["champion"]
    won, lost = paired.flips
    found = Changes(
        confusions=dict(zip(models, paired.confusions(), strict=False)),
        reliability={name: reliability(paired.truth, probabilities) for name, probabilities in models.items()},
        newly_right=int(won.sum()),
        newly_wrong=int(lost.sum()),
        weak_points=weak_points(candidate),
    )
    if comparison.champion.empty:
        return found
    parts = [part for part in slices_of(paired, candidate) if part[1].any()]
    slices, names = _slices(paired, candidate, parts), {name for name, _ in parts}
    return replace(
        found,
        classes=_classes(paired, candidate),
        slices=slices,
        more_slices=len(parts) - len(slices),
        empty_slices=[name for name in candidate.slices if name not in names],
        won=_flips(paired, candidate, won),
        lost=_flips(paired, candidate, lost),
    )


def _classes(paired: PairedPredictions, candidate: Evaluation) -> list[PartMetric]:
    totals = np.bincount(paired.truth, minlength=len(paired.labels))
    largest = np.argsort(-totals, kind="stable")[:MOST_PARTS]
    found = []
    for number in largest[totals[largest] > 0]:
        pivot, _ = difference(paired, f"f1:{paired.labels[number]}", _DRAWS)
        found.append(_part(paired.labels[number], paired.truth == number, pivot, paired, candidate))
    return found


def _slices(paired: PairedPredictions, candidate: Evaluation, parts: list[tuple[str, np.ndarray]]) -> list[PartMetric]:
    won, lost = paired.flips

    def gained(part: tuple[str, np.ndarray]) -> float:
        """Rows won less rows lost, in standard errors."""
        more, fewer = int(won[part[1]].sum()), int(lost[part[1]].sum())
        return (more - fewer) / np.sqrt(max(more + fewer, 1))

    shown = parts if len(parts) <= MOST_PARTS else sorted(parts, key=gained)[:MOST_PARTS]
    return [_part(name, rows, slice_pivot(paired, rows), paired, candidate) for name, rows in shown]


def _part(name: str, rows: np.ndarray, pivot: Pivot, paired: PairedPredictions, candidate: Evaluation) -> PartMetric:
    low, high = pivot.estimate()
    size = candidate.size(paired.order[rows])
    return PartMetric(name, int(rows.sum()), pivot.value, max(low, -1.0), min(high, 1.0), size)


def _flips(paired: PairedPredictions, candidate: Evaluation, flipped: np.ndarray) -> list[Flip]:
    assert candidate.predictions is not None
    rows = np.flatnonzero(flipped)
    gap = np.abs(paired.candidate[rows, paired.truth[rows]] - paired.champion[rows, paired.truth[rows]])
    rows = rows[np.argsort(-gap, kind="stable")][:MOST_FLIPS]
    shown = examples(candidate.predictions, paired.order[rows])
    ours, theirs = paired.predicted
    names = paired.labels
    return [
        Flip(text, names[paired.truth[i]], names[theirs[i]], names[ours[i]], place)
        for (text, place), i in zip(shown, rows, strict=True)
    ]
