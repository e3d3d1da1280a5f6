"""The decision about a candidate, from two evaluations and a policy."""

import uuid
from dataclasses import asdict
from pathlib import Path

import numpy as np

from kfp_bert_components.evaluation import Evaluation, read_evaluation
from kfp_bert_components.evaluation.row_metrics import LOWER_IS_BETTER, ROW_METRICS
from kfp_bert_components.gate.decision import Decision, write_decision
from kfp_bert_components.gate.difference import METHODS, difference, scores
from kfp_bert_components.gate.exam import Exam, same_exam
from kfp_bert_components.gate.guardrails import check_guardrails
from kfp_bert_components.gate.policy import Policy
from kfp_bert_components.gate.uses import Use, spend, uncounted
from kfp_bert_components.gate.verdict import FEWEST_FOR_MCC, POWER, Finding, more_rows, verdict

_NOBODY = "always saying the most frequent class"


def compare(
    candidate: Path, champion: Path, decision: Path, report: Path, summary: Path, policy: Policy, registry: str = ""
) -> Decision:
    """Decide whether the candidate shall replace the champion; write decision, page and summary.

    Args:
        candidate: Evaluation of the candidate.
        champion: Evaluation of the champion on the same rows; an empty one when there is none.
        decision: Folder for decision.json.
        report: HTML page to write.
        summary: Markdown file to write.
        policy: The rules.
        registry: Registry that counts how often the test set has decided; "" counts nothing, and then alpha
            holds for each comparison and not for all of them together.

    Raises:
        UserError: The two did not sit the same exam, or the primary metric is not defined on it.
    """
    new, old = read_evaluation(candidate), read_evaluation(champion)
    made, exam = decide(new, old, policy, registry)
    write_decision(made, decision)
    from kfp_bert_components.reports import comparison as pages

    for path, text in ((report, pages.page(made, exam, new, old)), (summary, pages.summary(made))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return made


def decide(new: Evaluation, old: Evaluation, policy: Policy, registry: str = "") -> tuple[Decision, Exam]:
    """The decision of `compare`, without files, and what it was made from."""
    exam = same_exam(new, old)
    print(f"Comparing on {exam.rows:,} rows.")
    # A constant answer has perfect calibration and no ranking: there accuracy is what must be beaten.
    unbeatable = old.empty and policy.primary_metric in ("ece", "roc_auc", "pr_auc")
    metric = "accuracy" if unbeatable else policy.primary_metric
    rules = policy if not old.empty else _first_run_policy(policy, metric)
    pivot, method = difference(exam, metric, delta=rules.delta)
    use = _use(new, old, policy, registry)
    same = bool(np.array_equal(*exam.said)) if metric not in ROW_METRICS else pivot.error == 0 and pivot.value == 0
    against = _NOBODY if old.empty else f"version {old.model_version}" if old.model_version else "the champion"
    found = Finding(pivot, exam.rows, against, same, old.empty, _rare(exam, metric, rules.delta))
    guards = [] if old.empty else check_guardrails(exam, new, old, policy, use.alpha)
    outcome, reason = verdict(found, rules, use, guards)
    if old.empty:
        outcome, reason = _first_run(new, policy, outcome, reason)
    said, why = (outcome, reason) if not policy.override else _overridden(policy, outcome, reason)
    low, high = pivot.interval(use.alpha)
    low_95, high_95 = pivot.estimate()
    ours, theirs = scores(exam, metric)
    made = Decision(
        outcome=said,
        reason=why,
        gate_outcome=outcome,
        decision_id=uuid.uuid4().hex,
        candidate_fingerprint=new.model_fingerprint,
        champion_version=old.model_version,
        champion_generation=old.champion_generation,
        test_fingerprint=new.test_fingerprint,
        difference={
            "metric": metric,
            "value": pivot.value,
            "low": _finite(low),
            "high": _finite(high),
            "confidence": 1 - 2 * use.alpha,
            "p_value": pivot.p_value(rules.delta),
            "low_95": _finite(low_95),
            "high_95": _finite(high_95),
            "candidate": ours,
            "champion": theirs,
            "delta": rules.delta,
            "rows": exam.rows,
            "method": METHODS[method],
            "power": POWER,
            "resolvable": None if same else pivot.resolvable(use.alpha, POWER),
            "more_rows": more_rows(found, rules, use.alpha),
        },
        guardrails=[one.as_dict() for one in guards],
        test_set=asdict(use),
        policy=policy.as_dict(),
    )
    return made, exam


def _rare(exam: Exam, metric: str, delta: float) -> str:
    """The class with the fewest rows where MCC can't be tested against a difference of `delta`, else ""."""
    counts = np.bincount(exam.truth, minlength=len(exam.labels))
    least = int(np.where(exam.present, counts, exam.rows).argmin())
    return exam.labels[least] if metric == "mcc" and delta and counts[least] < FEWEST_FOR_MCC else ""


def _first_run_policy(policy: Policy, metric: str) -> Policy:
    from dataclasses import replace

    return replace(policy, primary_metric=metric, min_improvement=0.0, margin=0.0)


def _first_run(new: Evaluation, policy: Policy, outcome: str, reason: str) -> tuple[str, str]:
    """There is no champion: absolute thresholds, beside the test against the most frequent class."""
    for name, limit in policy.thresholds.items():
        value = new.metrics.get(name, {}).get("value")
        if value is None:
            return "HOLD", f"There is no champion yet, and {name}, which has a threshold, is not defined on these rows."
        if value > limit if name in LOWER_IS_BETTER else value < limit:
            return "REJECT", f"There is no champion yet, and {name} is {value:.3f} where the policy wants {limit:g}."
    return outcome, f"There is no champion yet. {reason}"


def _overridden(policy: Policy, outcome: str, reason: str) -> tuple[str, str]:
    done = "Promoted" if policy.override == "PROMOTE" else "Held back"
    return policy.override, (
        f"{done} by hand by {policy.override_by}, because: {policy.override_reason.rstrip('.')}. "
        f"The gate itself says {outcome}: {reason}"
    )


def _use(new: Evaluation, old: Evaluation, policy: Policy, registry: str) -> Use:
    if not registry:
        return uncounted(policy.alpha)
    rules = {key: value for key, value in policy.as_dict().items() if not key.startswith("override")}
    return spend(
        registry,
        new.test_fingerprint,
        policy.alpha,
        {
            "candidate": new.model_fingerprint,
            "champion_version": old.model_version,
            "champion_generation": old.champion_generation,
            "policy": rules,
        },
    )


def _finite(value: float) -> float | None:
    """JSON has no infinity: an open end is null."""
    return float(value) if np.isfinite(value) else None
