"""What must not get worse: each a test of non-inferiority, corrected together by Holm's method."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation import Evaluation
from kfp_bert_components.gate.difference import difference
from kfp_bert_components.gate.exam import Exam
from kfp_bert_components.gate.policy import Policy
from kfp_bert_components.gate.swaps import pivot_of_accuracy

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
        return asdict(self)


def check_guardrails(exam: Exam, new: Evaluation, old: Evaluation, policy: Policy, alpha: float) -> list[Guardrail]:
    """Test all guardrails that the policy asks for at the family-wise level `alpha` (Holm 1979)."""
    tested = [*_classes(exam, policy), *_slices(exam, new, policy), *_flips(exam, policy), *_calibration(exam, policy)]
    fixed = _ratios(new, old, policy)
    if not tested:
        return fixed
    from statsmodels.stats.multitest import multipletests

    passed, corrected, _, _ = multipletests([one[3] for one in tested], alpha, method="holm")
    return [
        Guardrail(name, value, limit, float(p), bool(ok), broken)
        for (name, value, limit, _, broken), p, ok in zip(tested, corrected, passed, strict=True)
    ] + fixed


_Tested = tuple[str, float, float, float, bool]


def _classes(exam: Exam, policy: Policy) -> list[_Tested]:
    if not policy.max_class_drop:
        return []
    found = []
    for number in np.flatnonzero(np.bincount(exam.truth, minlength=len(exam.labels)) >= policy.min_rows):
        pivot, _ = difference(exam, f"f1:{exam.labels[number]}", _DRAWS, -policy.max_class_drop)
        found.append(_change(f"F1 of class {exam.labels[number]}", pivot, policy.max_class_drop))
    return found


def _slices(exam: Exam, new: Evaluation, policy: Policy) -> list[_Tested]:
    found = []
    for name, rows in slices_of(exam, new) if policy.max_slice_drop else ():
        if rows.sum() >= policy.min_rows:
            pivot = slice_pivot(exam, rows, -policy.max_slice_drop)
            found.append(_change(f"accuracy where {name}", pivot, policy.max_slice_drop))
    return found


def slices_of(exam: Exam, new: Evaluation) -> list[tuple[str, np.ndarray]]:
    """The candidate's slices, with their rows in the order of the exam."""
    return [(name, new.members(name)[exam.order]) for name in new.slices]


def slice_pivot(exam: Exam, rows: np.ndarray, delta: float = 0.0) -> Any:
    """Difference of accuracy on some rows, to be tested against `delta`."""
    wins, losses = (int((part & rows).sum()) for part in exam.flips)
    return pivot_of_accuracy(wins, losses, int(rows.sum()), delta, _DRAWS)


def _change(name: str, pivot: Any, most: float) -> _Tested:
    return name, pivot.value, -most, pivot.p_value(-most), pivot.value <= -most


def _flips(exam: Exam, policy: Policy) -> list[_Tested]:
    if not policy.max_negative_flips:
        return []
    from scipy.stats import binomtest

    lost, limit = int(exam.flips[1].sum()), policy.max_negative_flips
    p_value = float(binomtest(lost, exam.rows, limit, alternative="less").pvalue)
    return [("share of rows right before and wrong now", lost / exam.rows, limit, p_value, lost / exam.rows >= limit)]


def _calibration(exam: Exam, policy: Policy) -> list[_Tested]:
    if not policy.max_calibration_rise:
        return []
    pivot, _ = difference(exam, "ece", _DRAWS)
    return [_change("calibration (ECE)", pivot, policy.max_calibration_rise)]


def _ratios(new: Evaluation, old: Evaluation, policy: Policy) -> list[Guardrail]:
    found = []
    for name, key, limit in (
        ("latency, 95th percentile, ratio", "latency_p95_ms", policy.max_latency_ratio),
        ("size of the model, ratio", "size_bytes", policy.max_size_ratio),
    ):
        if not limit:
            continue
        if not (new.system.get(key) and old.system.get(key)):
            raise UserError(f"The policy limits the {name}, but an evaluation has no {key}; run both of them again.")
        ratio = new.system[key] / old.system[key]
        found.append(Guardrail(name, ratio, limit, None, ratio <= limit, ratio > limit))
    return found
