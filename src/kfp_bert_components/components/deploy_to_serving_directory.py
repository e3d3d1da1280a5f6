"""The component that puts the champion where a model server picks it up."""

from typing import NamedTuple

from kfp_bert_components.components._images import tensorflow_component


@tensorflow_component
def deploy_to_serving_directory(
    registry: str,
    serving_directory: str,
    deployment_target: str = "production",
    server_url: str = "",
    take_over: bool = False,
    run_id: str = "",
    run_name: str = "",
) -> NamedTuple("Outputs", [("serving_uri", str), ("version", int)]):
    """Make the registry's champion the newest version in a folder that a model server watches.

    The folder has TensorFlow Serving's layout. Before a server can see the version, this step loads it and lets it
    classify texts of the test split: its answers must match those in its evaluation. After that, a server sends all
    requests to it. The previous version stays in the folder. If the champion is the newest version already, nothing is
    changed.

    Args:
        registry: gs:// or s3:// URI, or folder, of the registry.
        serving_directory: gs:// or s3:// URI, or folder, that the model server watches.
        deployment_target: Name of the deployment record in the registry, one for each place that serves.
        server_url: Address of a server that watches the folder, such as http://serving:8501. If it is given, the new
            version is tested again through the server, and removed if it fails.
        take_over: Whether to take over the folder if it belongs to another registry or deployment target.
        run_id: Id of the run, for the records: dsl.PIPELINE_JOB_ID_PLACEHOLDER. Give it only if this step is never
            cached. Default: the run in the address of this step's outputs.
        run_name: Name of the run, for the records: dsl.PIPELINE_JOB_NAME_PLACEHOLDER. Give it only if this step is
            never cached.

    Returns:
        serving_uri: The folder of the version that serves now; empty if no model was promoted yet.
        version: Number of this version in the registry; 0 if no model was promoted yet.
    """
    from collections import namedtuple

    from kfp_bert_components.components._task import task_address
    from kfp_bert_components.errors import NoChampionError
    from kfp_bert_components.origin import here
    from kfp_bert_components.steps.deploy_to_serving_directory import deploy_to_serving_directory

    outputs = namedtuple("Outputs", ["serving_uri", "version"])
    try:
        deployed = deploy_to_serving_directory(
            registry,
            serving_directory,
            deployment_target,
            server_url,
            take_over,
            here(task_address(), run_id, run_name),
        )
    except NoChampionError as error:  # as where the first model was held back: the run did what it should
        print(error)
        return outputs("", 0)
    return outputs(deployed.serving_uri, deployed.version)
