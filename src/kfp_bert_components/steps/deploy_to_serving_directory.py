"""Put the champion into a serving directory, after it has answered here as it did in its evaluation."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kfp_bert_components.bert.onnx_model import OnnxModel, has_onnx
from kfp_bert_components.deployment import DeployedVersion
from kfp_bert_components.deployment import deploy_to_serving_directory as deploy
from kfp_bert_components.errors import UserError
from kfp_bert_components.origin import Origin


def deploy_to_serving_directory(
    registry: str,
    serving_directory: str,
    target: str = "production",
    server_url: str = "",
    take_over: bool = False,
    origin: Origin | None = None,
) -> DeployedVersion:
    """Make the registry's champion the newest version in a folder; see `deployment.deploy_to_serving_directory`.

    Before a server can see the version, it is loaded here and asked for the texts of its evaluation.
    """
    return deploy(
        registry,
        serving_directory,
        target,
        server_url=server_url,
        engine=load,
        take_over=take_over,
        origin=origin,
    )


def load(version: Path) -> Callable[[list[dict[str, str]]], list[dict[str, Any]]]:
    """Load a version with the engine of our server.

    Args:
        version: The folder that is to be served.

    Returns:
        A function from instances, {"text": ...}, to predictions.

    Raises:
        UserError: It cannot be loaded, or the engine is not installed.
    """
    if has_onnx(version):
        return partial(_ask, OnnxModel(version))
    from kfp_bert_components.serving.model import Model
    from kfp_bert_components.serving.versions import ModelVersion

    try:
        return Model(ModelVersion(version, 1)).predict
    except ModuleNotFoundError as error:
        raise UserError(
            f"The version cannot be tested before it is served: {error.name} is not installed. Run this step in the "
            "image kfp-bert-components/python-tensorflow, or pip install 'kfp-bert-components[tensorflow]'."
        ) from error


def _ask(model: OnnxModel, instances: list[dict[str, str]]) -> list[dict[str, Any]]:
    pairs = [instance["text_pair"] for instance in instances] if model.pair else None
    answers = model.predict([instance["text"] for instance in instances], pairs)
    return [
        {"label": model.labels[row.argmax()], "score": float(row.max()), "probabilities": row.tolist()}
        for row in answers
    ]
