"""A pipeline compiled for the cluster that it will run on."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.dsl import base_component, yaml_component
from kfp.pipeline_spec import pipeline_spec_pb2

from kfp_bert_components.compiling.rewrite import rewrite
from kfp_bert_components.compiling.settings import Cluster, cluster_schema, read_cluster
from kfp_bert_components.components._compiled import as_pipeline, comments_of, compiled_documents, compiled_text
from kfp_bert_components.errors import UserError, reason_of

__all__ = ["Cluster", "cluster_schema", "compile", "read_cluster"]


def compile(
    pipeline: base_component.BaseComponent | Callable[..., Any] | str | Path,
    target: str | Path,
    cluster: Cluster | Mapping[str, Any] | str | Path | None = None,
) -> yaml_component.YamlComponent:
    """Compile a pipeline for a cluster: with its images, resources, volumes, secrets and other settings of pods.

    It works on any pipeline, whether its components were imported or loaded by URL, including loops, conditions, exit
    handlers and nested pipelines. On Kubernetes, the steps of this package request default amounts of CPU and memory if
    neither the pipeline nor `cluster` says how much.

    Args:
        pipeline: A pipeline or a component, or the path of a compiled one, such as "pipeline.yaml".
        target: The YAML file to write.
        cluster: Path of a cluster.yaml, or the same as a dictionary, such as {"training": {"accelerator": {"type":
            "nvidia.com/gpu"}}}. None: only these requests.

    Returns:
        The pipeline that was written: to submit, or to put into another one. If you compile a single component and put
        it into a pipeline, KFP drops its volumes, secrets and other settings of pods. So compile the whole pipeline.

    Raises:
        UserError: A setting is not allowed, does not apply on the platform, or does not fit the pipeline; `pipeline`
            is no pipeline; or `target` can't be written or has another ending than .yaml.
    """
    target = Path(target)
    if target.suffix not in (".yaml", ".yml"):
        raise UserError(f"{target} is no name of a compiled pipeline: expected one that ends with .yaml.")
    settings = read_cluster(cluster)
    name = pipeline.name if isinstance(pipeline, base_component.BaseComponent) else str(pipeline)
    text = compiled_text(pipeline)
    documents = rewrite(name, compiled_documents(name, text), settings)
    _check(name, documents[0])
    made = as_pipeline(documents, _comments(text, settings))
    try:
        target.write_text(made.component_yaml)
    except OSError as error:
        raise UserError(f"{target} can't be written: {reason_of(error)}.") from None
    return made


def _check(name: str, spec: dict[str, Any]) -> None:
    """Read a pipeline with KFP's own strict parsers, which refuse an unknown field or a value of another type."""
    try:
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        # In the message before, this part is any dictionary.
        json_format.ParseDict(spec["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
    except json_format.ParseError as error:
        raise UserError(f"{name} is no pipeline that KFP can read: {str(error).splitlines()[0]}") from None


def _comments(text: str, settings: Cluster) -> str:
    """The comments of a pipeline, with what the file can't make true: the account is given when a run is submitted."""
    comments, start = comments_of(text), "# Submit with service_account="
    if not settings.service_account:
        return comments
    others = [line for line in comments.splitlines(keepends=True) if not line.startswith(start)]
    return f"{''.join(others)}{start}{settings.service_account!r}\n"
