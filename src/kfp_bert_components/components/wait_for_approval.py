"""The component that waits for a person."""

from typing import NamedTuple

from kfp.dsl import Artifact, Input, Output

from kfp_bert_components.components._images import slim_component


@slim_component
def wait_for_approval(
    decision: Input[Artifact],
    answered: Output[Artifact],
    registry: str,
    hours: float = 24.0,
    run_id: str = "",
    run_name: str = "",
) -> NamedTuple("Outputs", [("outcome", str), ("reason", str)]):
    """Wait until a person approves or rejects the model that the gate wants to promote, or until the time is over.

    The log says what to read and which command answers: kfp-bert registry approve, or reject. A decision that promotes
    nothing is passed on at once. If the pod is killed and the step is tried again, it continues to wait; the time runs
    from the first start. Anyone who can write to the registry can answer.

    Args:
        decision: The decision of compare_models.
        registry: gs:// or s3:// URI, or path, of the registry; it stores the question and the answer.
        hours: How long to wait, in hours. Default: 24.
        run_id: Id of the run, for the records: dsl.PIPELINE_JOB_ID_PLACEHOLDER. Give it only if this step is never
            cached. Default: the run in the address of this step's outputs.
        run_name: Name of the run, for the records: dsl.PIPELINE_JOB_NAME_PLACEHOLDER. Give it only if this step is
            never cached.

    Returns:
        outcome: APPROVED, REJECTED, EXPIRED (nobody answered in time), or NOT NEEDED.
        reason: One sentence that says why, and who answered.
        answered: The decision for promote_model: the same decision if it was approved, otherwise HOLD.
    """
    from collections import namedtuple
    from pathlib import Path

    from kfp_bert_components.components._task import remember_stores
    from kfp_bert_components.origin import here
    from kfp_bert_components.steps.artifact_metadata import of_decision
    from kfp_bert_components.steps.wait_for_approval import wait_for_approval

    remember_stores(decision)
    origin = here(answered.uri, run_id, run_name, {"decision": decision.uri})
    found = wait_for_approval(Path(decision.path), Path(answered.path), registry, hours, origin)
    answered.metadata.update(of_decision(found.decision, registry))
    return namedtuple("Outputs", ["outcome", "reason"])(found.outcome, found.decision.reason)
