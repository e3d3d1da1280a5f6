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
    """Wait until a person approves or rejects what the gate wants to promote, or until the time for that is over.

    The log says what to read and which command answers: kfp-bert registry approve, or reject. A decision that promotes
    nothing is passed on at once. A pod that is killed and tried again goes on waiting; the time runs from the first
    start. Whoever can write to the registry can answer.

    Args:
        decision: The decision of compare_models.
        registry: gs:// or s3:// URI, or path, of the registry; it keeps question and answer.
        hours: How long to wait, in hours. Default: 24.
        run_id: Id of the run, for the records: dsl.PIPELINE_JOB_ID_PLACEHOLDER, in steps that are never cached only.
            Default: what the address of this step's outputs tells.
        run_name: Name of the run, likewise: dsl.PIPELINE_JOB_NAME_PLACEHOLDER.

    Returns:
        outcome: APPROVED, REJECTED, EXPIRED (nobody answered in time), or NOT NEEDED.
        reason: One sentence that says why, and who answered.
        answered: The decision for promote_model: the same one where it was approved, else HOLD.
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
