"""The decision about a candidate, from two evaluations and a policy."""

import uuid
from pathlib import Path

from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation import Evaluation, read_evaluation
from kfp_bert_components.evaluation.metrics import COUNT_METRICS, row_log_loss
from kfp_bert_components.gate.decision import Decision, write_decision
from kfp_bert_components.gate.paired import Difference, compare_counts, compare_means
from kfp_bert_components.gate.policy import METRICS, Policy


def compare(candidate: Path, champion: Path, decision: Path, report: Path, summary: Path, policy: Policy) -> Decision:
    """Decide whether the candidate shall replace the champion; write decision, page and summary.

    Args:
        candidate: Evaluation of the candidate.
        champion: Evaluation of the champion on the same rows; an empty one when there is none.
        decision: Folder for decision.json.
        report: HTML page to write.
        summary: Markdown file to write.
        policy: The rules.

    Raises:
        UserError: The two did not sit the same exam.
    """
    new, old = read_evaluation(candidate), read_evaluation(champion)
    _require_same_exam(new, old)
    made = _first_run(new, policy) if old.empty else _against_champion(new, old, policy)
    write_decision(made, decision)
    report.write_text(_page(made, new, old, policy))
    summary.write_text(f"**{made.outcome}**: {made.reason}\n")
    return made


def _require_same_exam(new: Evaluation, old: Evaluation) -> None:
    if new.empty:
        raise UserError("The candidate's evaluation is empty; give the output of evaluate_model.")
    if new.test_fingerprint != old.test_fingerprint:
        raise UserError(
            "The evaluations are of different test rows or labels; evaluate both models on the same test split."
        )


def _first_run(new: Evaluation, policy: Policy) -> Decision:
    """Without a champion: better than always saying the most frequent class, by an exact binomial test."""
    from scipy.stats import binomtest

    right = int((new.probabilities().argmax(1) == new.truth()).sum())
    rows = len(new.truth())
    p_value = float(binomtest(right, rows, new.majority_share, alternative="greater").pvalue)
    better = p_value <= policy.alpha
    reason = (
        f"There is no champion yet, and the candidate's accuracy of {right / rows:.3f} on {rows:,} test rows is "
        f"{'better than' if better else 'not shown to be better than'} the {new.majority_share:.3f} of always "
        f"saying the most frequent class (p = {p_value:.2g}, alpha {policy.alpha:g})."
    )
    difference = {"metric": "accuracy", "value": right / rows - new.majority_share, "p_value": p_value}
    return _decision("PROMOTE" if better else "HOLD", reason, new, None, 0, difference)


def _against_champion(new: Evaluation, old: Evaluation, policy: Policy) -> Decision:
    found = _difference(new, old, policy)
    name = METRICS[policy.primary_metric]
    shown = found.p_value <= policy.alpha and found.low >= policy.min_improvement and found.value > 0
    hopeless = found.high <= policy.min_improvement
    outcome = "PROMOTE" if shown else "REJECT" if hopeless else "HOLD"
    verdict = {
        "PROMOTE": "which shows that the candidate is better",
        "HOLD": f"which {len(new.truth()):,} test rows cannot tell from no improvement",
        "REJECT": "which shows that the candidate is not better",
    }[outcome]
    reason = (
        f"{name[0].upper()}{name[1:]} improved by {found.value:+.3f} over version {old.model_version} "
        f"({100 * (1 - 2 * policy.alpha):.0f} % interval {found.low:+.3f} to {found.high:+.3f}), {verdict} "
        f"at alpha {policy.alpha:g}."
    )
    difference = {
        "metric": policy.primary_metric, "value": found.value, "low": found.low, "high": found.high,
        "p_value": found.p_value,
    }  # fmt: skip
    return _decision(outcome, reason, new, old.model_version, old.champion_generation, difference)


def _difference(new: Evaluation, old: Evaluation, policy: Policy) -> Difference:
    truth, order = new.truth(), _same_order(new, old)
    ours, theirs = new.probabilities(), old.probabilities()[order][:, _same_labels(new, old)]
    if policy.primary_metric == "log_loss":
        return compare_means(-row_log_loss(truth, ours), -row_log_loss(truth, theirs), policy.alpha)
    metric = COUNT_METRICS[policy.primary_metric]
    return compare_counts(metric, truth, ours.argmax(1), theirs.argmax(1), len(new.labels), policy.alpha)


def _same_order(new: Evaluation, old: Evaluation) -> list[int]:
    assert new.predictions is not None and old.predictions is not None
    position = {row: i for i, row in enumerate(old.predictions["id"].to_pylist())}
    return [position[row] for row in new.predictions["id"].to_pylist()]


def _same_labels(new: Evaluation, old: Evaluation) -> list[int]:
    if set(new.labels) != set(old.labels):
        raise UserError(f"Candidate and champion have different labels: {new.labels} and {old.labels}.")
    return [old.labels.index(label) for label in new.labels]


def _decision(
    outcome: str, reason: str, new: Evaluation, version: int | None, generation: int, difference: dict
) -> Decision:
    return Decision(
        outcome=outcome, reason=reason, decision_id=uuid.uuid4().hex, candidate_fingerprint=new.model_fingerprint,
        champion_version=version, champion_generation=generation, test_fingerprint=new.test_fingerprint,
        difference=difference,
    )  # fmt: skip


def _page(decision: Decision, new: Evaluation, old: Evaluation, policy: Policy) -> str:
    from kfp_bert_components.reports import render

    return render("comparison.html", decision=decision, candidate=new, champion=old, policy=policy, names=METRICS)
