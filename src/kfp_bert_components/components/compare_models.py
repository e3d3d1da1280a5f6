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
    """Decide whether the candidate replaces the champion, by a paired test on the same test rows.

    Args:
        candidate: Evaluation of the candidate, from evaluate_model.
        champion: Evaluation of the champion, from evaluate_champion; an empty evaluation if there is no champion.
        primary_metric: Metric that must improve: accuracy, macro_f1, macro_precision, macro_recall, weighted_f1,
            weighted_precision, weighted_recall, mcc, log_loss, brier, ece, roc_auc, pr_auc, or f1:LABEL,
            precision:LABEL, recall:LABEL.
        min_improvement: Improvement that must be shown, in the metric's own unit.
        alpha: Probability of promoting a model that is no better.
        margin: If above 0, it is enough to show that the metric falls by less than this margin. Must be below 0.25.
        policy: Text of a YAML policy, or the address (gs://, s3:// or local) of a file with the policy. A policy can
            also have guardrails and thresholds. Its values win over the parameters. "" for none. The file is read when
            the step runs, so a step with an address must not be cached.
        registry: Registry that counts how often this test set was used for a decision, and divides alpha between these
            uses. If "", nothing is counted. The same comparison is counted once, even if the step is tried again.
        allow_new_labels: Compare even if the champion knows half of the labels or fewer, or if labels differ only in
            spelling. The improvement must then also be shown on the labels that both models know.
        override: PROMOTE or HOLD: a decision by hand. "": the gate decides.
        override_by: Person who decides by hand, for the record.
        override_reason: Reason for the decision by hand, for the record.
        run_id: Id of the run, for the records: dsl.PIPELINE_JOB_ID_PLACEHOLDER. Give it only if this step is never
            cached. Default: the run in the address of this step's outputs.
        run_name: Name of the run, for the records: dsl.PIPELINE_JOB_NAME_PLACEHOLDER. Give it only if this step is
            never cached.

    Returns:
        promote: Whether the outcome is PROMOTE.
        outcome: PROMOTE, HOLD or REJECT.
        reason: One sentence that says why.
        decision: The decision, and which evaluations it compared.
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
