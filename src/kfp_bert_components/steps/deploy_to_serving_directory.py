"""Put the champion into a serving directory, after it has answered here as it did in its evaluation."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kfp_bert_components.deployment import DeployedVersion
from kfp_bert_components.deployment import deploy_to_serving_directory as deploy
from kfp_bert_components.origin import Origin
from kfp_bert_components.serving.engines import Engine, Threads, load_engine
from kfp_bert_components.serving.versions import read_version

_TOGETHER = 32  # instances in a call of the engine


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
    """Load a version as our server loads it.

    Args:
        version: The folder that is to be served.

    Returns:
        A function from instances, {"text": ...}, to predictions.

    Raises:
        UserError: It cannot be loaded, or the engine is not installed.
    """
    return partial(_ask, load_engine(read_version(version, 1), Threads.of_machine()))


def _ask(engine: Engine, instances: list[dict[str, str]]) -> list[dict[str, Any]]:
    parts = [engine.answer(instances[start : start + _TOGETHER]) for start in range(0, len(instances), _TOGETHER)]
    answers = [answer for part in parts for answer in part.predictions()]
    return [one | {name: one[name].tolist() for name in ("probabilities", "score")} for one in answers]
