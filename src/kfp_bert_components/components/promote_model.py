"""The component that makes a model champion."""

from typing import List, NamedTuple

from kfp.dsl import Artifact, Input, Model

from kfp_bert_components.components._images import slim_component


@slim_component
def promote_model(
    model: Input[Model],
    evaluation: Input[Artifact],
    decision: Input[Artifact],
    registry: str,
    deployment_target: str = "production",
    pin: str = "",
    run_id: str = "",
    run_name: str = "",
    mirror_to: List[str] = [],
) -> NamedTuple("Outputs", [("champion_version", str), ("deployment_pending", bool)]):
    """Store the candidate in the registry and make it champion, if the decision is PROMOTE; otherwise do nothing.

    The step refuses a decision that contradicts itself, and a model or an evaluation with a file that was changed after
    it was evaluated or compared.

    Args:
        model: The candidate's bundle.
        evaluation: The candidate's evaluation.
        decision: The decision of compare_models.
        registry: gs:// or s3:// URI, or path, of the registry; made if it is missing.
        deployment_target: The deployment whose record says whether the champion is live. Default: production.
        pin: The output pin of pin_data. It is stored with the version, so that a later run knows whether anything has
            changed.
        run_id: Id of the run, for the records: dsl.PIPELINE_JOB_ID_PLACEHOLDER. Give it only if this step is never
            cached. Default: the run in the address of this step's outputs.
        run_name: Name of the run, for the records: dsl.PIPELINE_JOB_NAME_PLACEHOLDER. Give it only if this step is
            never cached.
        mirror_to: Mirrors: registries of other systems that this step tells of the champion at its end,
            mlflow+https://HOST or model-registry+https://HOST. Add #NAME at the end if the model has another name there
            than the registry's. If a mirror can't be told, the step prints a warning, and the next run tries again.

    Returns:
        champion_version: Version of the champion after this step, "" if there is none.
        deployment_pending: Whether the champion still has to be deployed to the target.
    """
    from collections import namedtuple
    from pathlib import Path

    from kfp_bert_components.components._task import remember_stores, task_address
    from kfp_bert_components.origin import here
    from kfp_bert_components.steps.promote_model import promote_model

    remember_stores(model)
    given = {"model": model.uri, "evaluation": evaluation.uri, "decision": decision.uri}
    promoted = promote_model(
        registry,
        Path(model.path),
        Path(evaluation.path),
        Path(decision.path),
        deployment_target,
        pin,
        here(task_address(), run_id, run_name, given),
        mirror_to,
    )
    return namedtuple("Outputs", ["champion_version", "deployment_pending"])(
        promoted.champion_version, promoted.deployment_pending
    )
