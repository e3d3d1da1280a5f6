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

    The folder has TensorFlow Serving's layout. Before a server can see the version, it is loaded in this step and
    asked for texts of the test split: its answers must be those of its evaluation. From then on a server sends all
    requests to it; the version before stays in the folder. If the champion is the newest version already, nothing is
    changed.

    Args:
        registry: gs:// or s3:// URI, or folder, of the registry.
        serving_directory: gs:// or s3:// URI, or folder, that the model server watches.
        deployment_target: Name of the deployment record in the registry, one for each place that serves.
        server_url: Address of a server that watches the folder, such as http://serving:8501. Where it is
            given, the new version is asked again through the server, and removed if it fails.
        take_over: Whether the folder is taken from another registry or deployment target that it belongs to.
        run_id: Id of the run, for the records: dsl.PIPELINE_JOB_ID_PLACEHOLDER, in steps that are never cached only.
            Default: what the address of this step's outputs tells.
        run_name: Name of the run, likewise: dsl.PIPELINE_JOB_NAME_PLACEHOLDER.

    Returns:
        serving_uri: The folder of the version that serves now; empty while nothing was promoted yet.
        version: The registry's version that lies there; 0 while nothing was promoted yet.
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
