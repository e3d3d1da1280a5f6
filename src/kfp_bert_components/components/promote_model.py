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
    """Store the candidate in the registry and make it champion, if the decision is PROMOTE; else do nothing.

    What is promoted is what was examined: a file of the model or of the evaluation that was changed since, or a
    decision that contradicts itself, is refused.

    Args:
        model: The candidate's bundle.
        evaluation: The candidate's evaluation.
        decision: The decision of compare_models.
        registry: gs:// or s3:// URI, or path, of the registry; made if it is missing.
        deployment_target: The deployment whose record says whether the champion is live. Default: production.
        pin: What pin_data gave; kept with the version, so that a later run knows whether anything has changed.
        run_id: Id of the run, for the records: dsl.PIPELINE_JOB_ID_PLACEHOLDER, in steps that are never cached only.
            Default: what the address of this step's outputs tells.
        run_name: Name of the run, likewise: dsl.PIPELINE_JOB_NAME_PLACEHOLDER.
        mirror_to: Registries of others that are told of the champion when all else is done: mlflow+https://HOST or
            model-registry+https://HOST, with #NAME at the end for another name than the registry's. If one can't be
            told, that is a warning, and the next run tries again.

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
