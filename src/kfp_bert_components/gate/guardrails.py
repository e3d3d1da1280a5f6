"""What must not get worse: each a test of non-inferiority, corrected together by Holm's method."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation import Evaluation
from kfp_bert_components.gate.difference import accuracy_pivot, difference, scores
from kfp_bert_components.gate.paired import PairedPredictions
from kfp_bert_components.gate.pivot import Pivot
from kfp_bert_components.gate.policy import Policy

_DRAWS = 1_999


@dataclass(frozen=True)
class Guardrail:
    """One thing that must not get worse.

    Attributes:
        name: What it is, in words.
        value: What was observed: a change (positive is better), a share or a ratio.
        limit: What it must stay within.
        p_value: Of the hypothesis that the limit is broken, corrected by Holm; None where nothing is random.
        passed: Whether the limit is shown to hold.
        broken: Whether the observed value itself breaks the limit.
    """

    name: str
    value: float
    limit: float
    p_value: float | None
    passed: bool
    broken: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as in the decision's record."""
        return asdict(self)


class _Test(NamedTuple):
    """A guardrail before the correction."""

    name: str
    value: float
    limit: float
    p_value: float
    broken: bool


def check_guardrails(
    paired: PairedPredictions, candidate: Evaluation, champion: Evaluation, policy: Policy, alpha: float
) -> list[Guardrail]:
    """Test all guardrails that the policy asks for at the family-wise level `alpha` (Holm 1979)."""
    tests: list[_Test] = []
    few: list[Guardrail] = []
    if policy.max_class_drop:
        tests += _classes(paired, policy.max_class_drop, policy.min_rows)
        few += _few_classes(paired, candidate.unit, policy.max_class_drop, policy.min_rows)
    if policy.max_slice_drop:
        slices = slices_of(paired, candidate)
        tests += _slices(paired, slices, policy.max_slice_drop, policy.min_rows)
        few += _few_slices(paired, candidate.unit, slices, policy.max_slice_drop, policy.min_rows)
    if policy.max_negative_flips:
        tests.append(_negative_flips(paired, policy.max_negative_flips))
    if policy.max_calibration_rise:
        pivot, _ = difference(paired, "ece", _DRAWS)
        tests.append(_change("calibration (ECE)", pivot, policy.max_calibration_rise))
    found = _corrected(tests, alpha) + few
    for name, key, limit in (
        ("latency, 95th percentile, ratio", "latency_p95_ms", policy.max_latency_ratio),
        ("size of the model, ratio", "size_bytes", policy.max_size_ratio),
    ):
        if limit:
            found.append(_ratio(name, key, limit, candidate.system, champion.system))
    return found


def slices_of(paired: PairedPredictions, candidate: Evaluation) -> list[tuple[str, np.ndarray]]:
    """All of the candidate's slices by name, with the rows of each in the order of `paired`, bool [rows]."""
    return [(name, candidate.members(name)[paired.order]) for name in candidate.slices]


def slice_pivot(paired: PairedPredictions, rows: np.ndarray, delta: float = 0.0) -> Pivot:
    """Difference of accuracy on some rows, bool [rows], to be tested against `delta`."""
    return accuracy_pivot(paired, np.flatnonzero(rows), delta, _DRAWS)


def _corrected(tests: list[_Test], alpha: float) -> list[Guardrail]:
    p_values = holm(np.array([test.p_value for test in tests]))
    return [
        Guardrail(test.name, test.value, test.limit, float(p_value), bool(p_value <= alpha), test.broken)
        for test, p_value in zip(tests, p_values, strict=True)
    ]


def holm(p_values: np.ndarray) -> np.ndarray:
    """The p-values of several tests, corrected together (Holm 1979, Scandinavian Journal of Statistics 6)."""
    order = np.argsort(p_values)
    corrected = np.empty(len(p_values))
    corrected[order] = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    return np.minimum(corrected, 1)


def _classes(paired: PairedPredictions, most: float, min_rows: int) -> list[_Test]:
    found = []
    for number in np.flatnonzero(_effective(paired) >= min_rows):
        label = paired.labels[number]
        pivot, _ = difference(paired, f"f1:{label}", _DRAWS, -most)
        found.append(_change(f"F1 of class {label}", pivot, most))
    return found


def _slices(paired: PairedPredictions, slices: list[tuple[str, np.ndarray]], most: float, min_rows: int) -> list[_Test]:
    return [
        _change(f"accuracy where {name}", slice_pivot(paired, rows, -most), most)
        for name, rows in slices
        if paired.clusters.effective(rows) >= min_rows
    ]


def _few_classes(paired: PairedPredictions, unit: str, most: float, min_rows: int) -> list[Guardrail]:
    """Classes with enough rows, which are too few texts or groups for a test."""
    rows, effective = np.bincount(paired.truth, minlength=len(paired.labels)), _effective(paired)
    found = []
    for number in np.flatnonzero((rows >= min_rows) & (effective < min_rows)):
        one, other = scores(paired, f"f1:{paired.labels[number]}")
        found.append(_untested(f"F1 of class {paired.labels[number]}", unit, one - other, most))
    return found


def _few_slices(
    paired: PairedPredictions, unit: str, slices: list[tuple[str, np.ndarray]], most: float, min_rows: int
) -> list[Guardrail]:
    """The same of slices."""
    won, lost = paired.flips
    return [
        _untested(f"accuracy where {name}", unit, (won[rows].sum() - lost[rows].sum()) / rows.sum(), most)
        for name, rows in slices
        if paired.clusters.effective(rows) < min_rows <= rows.sum()
    ]


def _untested(name: str, unit: str, value: float, most: float) -> Guardrail:
    """A guardrail without a test: what was seen beyond the limit is not shown to be so, and not shown to be chance."""
    return Guardrail(f"{name} (too few {unit} to test)", float(value), -most, None, bool(value > -most), False)


def _effective(paired: PairedPredictions) -> np.ndarray:
    return paired.clusters.by_part(paired.truth, len(paired.labels))


def _change(name: str, pivot: Pivot, most: float) -> _Test:
    """The test that a metric falls by less than `most`."""
    return _Test(name, pivot.value, -most, pivot.p_value(-most), pivot.value <= -most)


def _negative_flips(paired: PairedPredictions, limit: float) -> _Test:
    """The exact binomial test, of as many rows as would give the share its variance if they were independent."""
    from scipy.special import betainc

    lost = paired.flips[1]
    share = float(lost.mean())
    rows = paired.rows / float(paired.clusters.share_effects(np.arange(len(lost)), 0 * paired.truth, lost, 1)[0])
    hits = share * rows
    # The binomial distribution function, also for a number of rows that is not whole.
    p_value = float(betainc(rows - hits, hits + 1, 1 - limit)) if hits < rows else 1.0
    return _Test("share of rows right before and wrong now", share, limit, p_value, share >= limit)


def _ratio(
    name: str, key: str, limit: float, candidate: Mapping[str, float], champion: Mapping[str, float]
) -> Guardrail:
    if not (candidate.get(key) and champion.get(key)):
        raise UserError(f"The policy limits the {name}, but an evaluation has no {key}; run both of them again.")
    ratio = candidate[key] / champion[key]
    return Guardrail(name, ratio, limit, None, ratio <= limit, ratio > limit)
