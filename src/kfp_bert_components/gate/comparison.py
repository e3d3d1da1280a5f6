"""The decision about a candidate, from two evaluations and a policy."""

import uuid
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation import Evaluation
from kfp_bert_components.evaluation.clusters import FEWEST, FEWEST_FOR_A_SPREAD, Clusters, student
from kfp_bert_components.evaluation.details import lost_classes
from kfp_bert_components.evaluation.names import LOWER_IS_BETTER
from kfp_bert_components.evaluation.row_metrics import ROW_METRICS
from kfp_bert_components.gate.alarm import not_recovered
from kfp_bert_components.gate.decision import Decision
from kfp_bert_components.gate.difference import METHODS, difference, scores
from kfp_bert_components.gate.guardrails import check_guardrails
from kfp_bert_components.gate.paired import PairedPredictions, pair_predictions
from kfp_bert_components.gate.pivot import Pivot
from kfp_bert_components.gate.policy import Goal, Policy
from kfp_bert_components.gate.shortage import shortage, weights_of
from kfp_bert_components.gate.task import other_task
from kfp_bert_components.gate.use import Use
from kfp_bert_components.gate.verdict import FEWEST_FOR_MCC, POWER, PrimaryTest, more_rows, verdict
from kfp_bert_components.plain import listed
from kfp_bert_components.progress import say

_NOBODY = "always saying the most frequent class"


@dataclass(frozen=True)
class Comparison:
    """Candidate and champion on the same rows, and the test of the primary metric.

    Attributes:
        candidate: Evaluation of the candidate.
        champion: Evaluation of the champion; an empty one when there is none.
        paired: Their predictions, aligned.
        test: The test of the primary metric.
        method: Which test it is, a key of `difference.METHODS`.
        other_task: Why the two may have different tasks, a sentence; "" where nothing says so.
        common: The same test on the labels that both know alone, where they don't know the same ones; None where no
            row has such a label, or the metric is not defined on them.
        common_paired: The predictions on these labels alone.
        unlearnt: Where the data alarm is raised, that the candidate did not learn the labels either; else "".
    """

    candidate: Evaluation
    champion: Evaluation
    paired: PairedPredictions
    test: PrimaryTest
    method: str
    other_task: str = ""
    common: PrimaryTest | None = None
    common_paired: PairedPredictions | None = None
    unlearnt: str = ""


def compare(candidate: Evaluation, champion: Evaluation, goal: Goal) -> Comparison:
    """Compare two evaluations on the primary metric.

    Args:
        candidate: Evaluation of the candidate.
        champion: Evaluation of the champion on the same rows; an empty evaluation if there is no champion. Then the
            candidate is compared with the class shares, and any gain is enough.
        goal: What must be shown.

    Raises:
        UserError: The two are not about the same rows, or the primary metric is not defined on them.
    """
    paired = pair_predictions(candidate, champion)
    say(f"Comparing on {candidate.size()}.")
    if champion.empty:
        # The class shares have perfect calibration and no ranking: there accuracy is what must be beaten.
        unbeatable = goal.metric in ("ece", "roc_auc", "pr_auc")
        goal = Goal("accuracy" if unbeatable else goal.metric)
    test, method = _test(paired, goal, candidate, champion)
    found = Comparison(candidate, champion, paired, test, method, unlearnt=not_recovered(candidate, champion))
    if champion.empty or set(candidate.known_labels) == set(champion.known_labels):
        return found
    common = paired.only([label for label in candidate.known_labels if label in champion.known_labels])
    why = other_task(candidate.known_labels, champion.known_labels, common.rows / paired.rows)
    labels = f"the candidate knows the labels {listed(candidate.known_labels)}, and {test.against} knows "
    task = f"This may be another task: {labels}{listed(champion.known_labels)}; {why}." if why else ""
    try:
        second = _test(common, goal, candidate, champion)[0] if common.rows else None
    except UserError:  # such as an area under a curve where one class is left
        second = None
    return replace(found, other_task=task, common=second, common_paired=common)


def _test(
    paired: PairedPredictions, goal: Goal, candidate: Evaluation, champion: Evaluation
) -> tuple[PrimaryTest, str]:
    """The test of the primary metric, and a key of `difference.METHODS`."""
    pivot, method = difference(paired, goal.metric, delta=goal.delta)
    pivot = _of_few_clusters(pivot, paired.clusters, weights_of(paired, goal.metric))
    version = champion.model_version
    test = PrimaryTest(
        goal=goal,
        pivot=pivot,
        rows=paired.rows,
        against=_NOBODY if champion.empty else f"version {version}" if version else "the champion",
        same=_same(paired, goal.metric, pivot.value, pivot.error),
        itself=bool(candidate.model_fingerprint) and candidate.model_fingerprint == champion.model_fingerprint,
        first=champion.empty,
        rare=_rare(paired, goal),
        short=shortage(paired, goal.metric),
        unit=candidate.unit,
    )
    return test, method


def _of_few_clusters(pivot: Pivot, clusters: Clusters, weights: np.ndarray) -> Pivot:
    """Widen the estimate of a difference where clusters are so few that how much they differ is hardly known."""
    effective = clusters.effective(weights)
    if clusters.single or effective >= FEWEST:
        return pivot
    wider = float(np.sqrt(student(effective))) if effective >= FEWEST_FOR_A_SPREAD else np.inf
    return replace(pivot, spread=pivot.spread * wider)


def decide(comparison: Comparison, policy: Policy, use: Use, kept_back: str = "") -> Decision:
    """Decide whether the candidate replaces the champion.

    Args:
        comparison: From `compare`.
        policy: The rules.
        use: How much of alpha this use of the test set may spend.
        kept_back: Why only a person may promote this model, in a sentence; "" if the test alone decides.

    Raises:
        UserError: The policy limits a ratio, and an evaluation lacks the figures for this ratio.
    """
    candidate, champion, test = comparison.candidate, comparison.champion, comparison.test
    guardrails = []
    if not champion.empty:
        guardrails = check_guardrails(comparison.paired, candidate, champion, policy, use.alpha)
    gate_outcome, gate_reason = verdict(test, use.alpha, guardrails)
    if champion.empty:
        gate_outcome, gate_reason = _without_champion(candidate, policy, gate_outcome, gate_reason)
    elif comparison.other_task and not policy.allow_new_labels:
        gate_outcome = "HOLD"
        gate_reason = f"{comparison.other_task} Give the labels one spelling, or set allow_new_labels to go on."
    elif comparison.other_task:
        gate_outcome, gate_reason = _with_common_labels(comparison, use.alpha, gate_outcome, gate_reason)
    elif comparison.common:
        gate_outcome, gate_reason = _beside_common_labels(comparison, use.alpha, gate_outcome, gate_reason)
    alarm = champion.alarm.get("sentence", "")
    if gate_outcome == "PROMOTE" and policy.on_data_alarm == "hold" and comparison.unlearnt:
        advice = "If the labels are right, set on_data_alarm: warn in the policy."
        gate_outcome, gate_reason = _hold(f"{alarm} {comparison.unlearnt} {advice}", gate_reason)
    if gate_outcome == "PROMOTE" and kept_back:
        gate_outcome, gate_reason = _hold(kept_back, gate_reason)
    outcome, reason = gate_outcome, gate_reason
    if policy.override:
        outcome = policy.override
        reason = _by_hand(outcome, policy.override_by, policy.override_reason, gate_outcome, gate_reason)
    return Decision(
        outcome=outcome,
        reason=reason,
        gate_outcome=gate_outcome,
        decision_id=uuid.uuid4().hex,
        candidate_fingerprint=candidate.model_fingerprint,
        champion_version=champion.model_version,
        champion_generation=champion.champion_generation,
        test_fingerprint=candidate.test_fingerprint,
        difference=_figures(comparison, use.alpha),
        guardrails=[one.as_dict() for one in guardrails],
        test_set=asdict(use),
        policy=policy.as_dict(),
        warnings=[alarm] if alarm else [],
    )


def _hold(why: str, reason: str) -> tuple[str, str]:
    """Outcome and reason for a model that the primary metric would promote."""
    return "HOLD", f"{why} By the primary metric alone it would be promoted: {reason}"


def _same(paired: PairedPredictions, metric: str, value: float, error: float) -> bool:
    """Whether the two models never differ, as far as the metric can see."""
    if metric in ROW_METRICS:
        return error == 0 and value == 0
    return bool(np.array_equal(*paired.predicted))


def _rare(paired: PairedPredictions, goal: Goal) -> str:
    """The class with the least evidence where MCC can't be tested against the goal's difference, else ""."""
    counts = paired.clusters.by_part(paired.truth, len(paired.labels))
    least = int(np.where(paired.present, counts, paired.rows).argmin())
    return paired.labels[least] if goal.metric == "mcc" and goal.delta and counts[least] < FEWEST_FOR_MCC else ""


def _figures(comparison: Comparison, alpha: float) -> dict[str, Any]:
    """The figures of the primary metric for the decision's record, and those on the common labels alone."""
    found = {**_difference(comparison.paired, comparison.test, alpha), "method": METHODS[comparison.method]}
    if comparison.common and comparison.common_paired:
        found["common_labels"] = _difference(comparison.common_paired, comparison.common, alpha)
    return found


def _difference(paired: PairedPredictions, test: PrimaryTest, alpha: float) -> dict[str, Any]:
    pivot, metric = test.pivot, test.goal.metric
    low, high = pivot.interval(alpha)
    low_95, high_95 = pivot.estimate()
    candidate, champion = scores(paired, metric)
    return {
        "metric": metric,
        "value": pivot.value,
        "low": _finite(low),
        "high": _finite(high),
        "confidence": 1 - 2 * alpha,
        "p_value": pivot.p_value(test.goal.delta),
        "low_95": _finite(low_95),
        "high_95": _finite(high_95),
        "candidate": candidate,
        "champion": champion,
        "delta": test.goal.delta,
        "rows": test.rows,
        "power": POWER,
        "resolvable": None if test.same else pivot.resolvable(alpha, POWER),
        "more_rows": more_rows(test, alpha),
    }


def _with_common_labels(comparison: Comparison, alpha: float, outcome: str, reason: str) -> tuple[str, str]:
    """Outcome and reason where the champion does not know the candidate's labels: it must lose on common labels too.

    It can't be right where it does not know the label, so the test on all rows would be passed by any candidate that
    knows the new ones. Two tests that must both be passed need no correction (Berger 1982, Technometrics 24).
    """
    if not comparison.common:
        why = "no test row has a label that both know, so nothing shows which one is better"
        todo = "To promote it all the same, give override, override_by and override_reason."
        return "HOLD", f"{reason} But {why}. {todo}"
    again, why = verdict(comparison.common, alpha, [])
    if outcome == "PROMOTE" and again != "PROMOTE":
        return again, f"{reason} But on the labels that both know: {why}"
    return outcome, f"{reason} On the labels that both know: {why}"


def _beside_common_labels(comparison: Comparison, alpha: float, outcome: str, reason: str) -> tuple[str, str]:
    """Outcome and reason where a label more or less is no other task: no promotion by new labels alone at a loss."""
    test = comparison.common
    if outcome != "PROMOTE" or test is None:
        return outcome, reason
    why = verdict(test, alpha, [])[1]
    known = [label for label in comparison.candidate.known_labels if label not in comparison.champion.known_labels]
    new = f" {test.against[0].upper()}{test.against[1:]} does not know {listed(known)}." if known else ""
    if test.pivot.interval(alpha)[1] < min(test.goal.delta, 0.0):
        return "REJECT", f"{reason}{new} But on the labels that both know: {why}"
    return outcome, f"{reason}{new} On the labels that both know: {why}"


def _without_champion(candidate: Evaluation, policy: Policy, outcome: str, reason: str) -> tuple[str, str]:
    """Outcome and reason of a first run: thresholds, beside the test against the most frequent class."""
    for name, limit in policy.thresholds.items():
        value = candidate.metrics.get(name, {}).get("value")
        if value is None:
            return "HOLD", f"There is no champion yet, and {name}, which has a threshold, is not defined on these rows."
        if value > limit if name in LOWER_IS_BETTER else value < limit:
            return "REJECT", f"There is no champion yet, and {name} is {value:.3f} where the policy wants {limit:g}."
    lost = lost_classes(candidate) if outcome == "PROMOTE" and policy.require_all_classes else []
    if lost:
        return "HOLD", (
            f"There is no champion yet, and the model is right about no row of {listed(lost)}: train longer or give "
            "more rows of it, or allow it with require_all_classes: false in the policy."
        )
    return outcome, f"There is no champion yet. {reason}"


def _by_hand(outcome: str, name: str, why: str, gate_outcome: str, gate_reason: str) -> str:
    done = "Promoted" if outcome == "PROMOTE" else "Held back"
    because = why.rstrip(".")
    return f"{done} by hand by {name}, because: {because}. The gate itself says {gate_outcome}: {gate_reason}"


def _finite(value: float) -> float | None:
    """JSON has no infinity: an open end is null."""
    return float(value) if np.isfinite(value) else None
