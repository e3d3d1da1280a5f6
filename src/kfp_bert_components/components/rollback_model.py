"""The component that makes an older model champion again."""

from typing import NamedTuple

from kfp_bert_components.components._images import slim_component


@slim_component
def rollback_model(
    registry: str,
    version: int = 0,
    reason: str = "",
    run_id: str = "",
    run_name: str = "",
) -> NamedTuple("Outputs", [("champion_version", str)]):
    """Make an older version of the registry champion. A deploy_to_... step after this step then deploys it.

    A version with a missing file is refused. A run goes back only once: if this step is tried again, it changes nothing
    more.

    Args:
        registry: gs:// or s3:// URI, or path, of the registry.
        version: The version to go back to. Default: 0, the champion before this one.
        reason: Reason, for the registry's history.
        run_id: Id of the run, for the records: dsl.PIPELINE_JOB_ID_PLACEHOLDER. Give it only if this step is never
            cached. Default: the run that the environment names.
        run_name: Name of the run, for the records: dsl.PIPELINE_JOB_NAME_PLACEHOLDER. Give it only if this step is
            never cached.

    Returns:
        champion_version: Version of the champion after this step.
    """
    from collections import namedtuple

    from kfp_bert_components.components._task import task_address
    from kfp_bert_components.origin import here
    from kfp_bert_components.steps.rollback_model import rollback_model

    champion = rollback_model(registry, version, reason, here(task_address(), run_id, run_name))
    return namedtuple("Outputs", ["champion_version"])(str(champion))
