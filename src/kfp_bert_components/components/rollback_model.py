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
    """Make an older version of the registry champion. A deploy_to_... step after it brings it to where it serves.

    A version of which a file is missing is refused. Once a run: a step that is tried again changes nothing more.

    Args:
        registry: gs:// or s3:// URI, or path, of the registry.
        version: The version to go back to. Default: 0, the champion before this one.
        reason: Why, for the registry's history.
        run_id: Id of the run, for the records: dsl.PIPELINE_JOB_ID_PLACEHOLDER, in steps that are never cached only.
            Default: what the environment tells.
        run_name: Name of the run, likewise: dsl.PIPELINE_JOB_NAME_PLACEHOLDER.

    Returns:
        champion_version: Version of the champion after this step.
    """
    from collections import namedtuple

    from kfp_bert_components.components._task import task_address
    from kfp_bert_components.origin import here
    from kfp_bert_components.steps.rollback_model import rollback_model

    champion = rollback_model(registry, version, reason, here(task_address(), run_id, run_name))
    return namedtuple("Outputs", ["champion_version"])(str(champion))
