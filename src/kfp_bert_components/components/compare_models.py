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
    margin: float = 0.0,
    policy: str = "",
    registry: str = "",
    allow_new_labels: bool = False,
    override: str = "",
    override_by: str = "",
    override_reason: str = "",
    run_id: str = "",
    run_name: str = "",
) -> NamedTuple("Outputs", [("promote", bool), ("outcome", str), ("reason", str)]):
    """Decide by a paired test on the same test rows whether the candidate shall replace the champion.

    Args:
        candidate: Evaluation of the candidate, from evaluate_model.
        champion: Evaluation of the champion, from evaluate_champion; an empty one when there is none.
        primary_metric: Metric that must improve: accuracy, macro_f1, macro_precision, macro_recall, weighted_f1,
            weighted_precision, weighted_recall, mcc, log_loss, brier, ece, roc_auc, pr_auc, or f1:LABEL,
            precision:LABEL, recall:LABEL.
        min_improvement: Improvement that must be shown, in the metric's own unit.
        alpha: Probability of promoting a model that is no better.
        margin: If above 0, it is enough to show that the metric falls by less than this. Must be below 0.25.
        policy: Text of a YAML policy, which has guardrails and thresholds too, or the address of a file with it,
            gs://, s3:// or local; what it names wins over the parameters. "" for none. The file is read when the step
            runs, so a step with an address must not be cached.
        registry: Registry that counts how often this test set has decided and spends alpha over the uses; ""
            counts nothing. The same comparison is counted once, also when the step is tried again.
        allow_new_labels: Compare also where the champion knows half of the labels or fewer, or labels differ only
            by their spelling; then the improvement must be shown on the labels that both know as well.
        override: PROMOTE or HOLD decides by hand; "" leaves it to the gate.
        override_by: Who decides by hand; recorded.
        override_reason: Why; recorded.
        run_id: Id of the run, for the records: dsl.PIPELINE_JOB_ID_PLACEHOLDER, in steps that are never cached only.
            Default: what the address of this step's outputs tells.
        run_name: Name of the run, likewise: dsl.PIPELINE_JOB_NAME_PLACEHOLDER.

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

    from kfp_bert_components.components._task import remember_stores
    from kfp_bert_components.gate import Policy, policy_from
    from kfp_bert_components.origin import here
    from kfp_bert_components.steps.artifact_metadata import of_decision
    from kfp_bert_components.steps.compare_models import compare_models

    remember_stores(candidate)
    rules = policy_from(
        policy,
        Policy(
            primary_metric=primary_metric,
            min_improvement=min_improvement,
            alpha=alpha,
            margin=margin,
            allow_new_labels=allow_new_labels,
            override=override,
            override_by=override_by,
            override_reason=override_reason,
        ),
    )
    made = compare_models(
        Path(candidate.path),
        Path(champion.path),
        Path(decision.path),
        Path(report.path),
        Path(summary.path),
        rules,
        registry,
        here(decision.uri, run_id, run_name, {"candidate": candidate.uri, "champion": champion.uri}),
        report.uri,
    )
    decision.metadata.update(of_decision(made, registry))
    return namedtuple("Outputs", ["promote", "outcome", "reason"])(made.promote, made.outcome, made.reason)
