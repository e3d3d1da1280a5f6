"""The component that is the metric gate."""

from typing import NamedTuple

from kfp.dsl import HTML, Artifact, Input, Markdown, Output

from kfp_bert_components.components._images import slim_component


@slim_component
def compare_models(
    candidate: Input[Artifact],
    champion: Input[Artifact],
    decision: Output[Artifact],
    report: Output[HTML],
    summary: Output[Markdown],
    primary_metric: str = "macro_f1",
    min_improvement: float = 0.0,
    alpha: float = 0.05,
) -> NamedTuple("Outputs", promote=bool, outcome=str, reason=str):
    """Decide by a paired test on the same test rows whether the candidate shall replace the champion.

    Args:
        candidate: Evaluation of the candidate, from evaluate_model.
        champion: Evaluation of the champion, from evaluate_champion; an empty one when there is none.
        primary_metric: Metric that must improve: accuracy, macro_f1 or log_loss.
        min_improvement: Improvement that must be shown, in the metric's own unit.
        alpha: Probability of promoting a model that is no better.

    Returns:
        promote: Whether the outcome is PROMOTE.
        outcome: PROMOTE, HOLD or REJECT.
        reason: One sentence that says why.
        decision: The decision, with what was compared with what.
        report: The comparison as a page.
        summary: Outcome and reason.
    """
    from collections import namedtuple
    from pathlib import Path

    from kfp_bert_components.gate import Policy, compare

    policy = Policy(primary_metric=primary_metric, min_improvement=min_improvement, alpha=alpha)
    made = compare(
        Path(candidate.path), Path(champion.path), Path(decision.path), Path(report.path), Path(summary.path), policy
    )
    print(f"{made.outcome}: {made.reason}")
    return namedtuple("Outputs", ["promote", "outcome", "reason"])(made.promote, made.outcome, made.reason)
