"""What must be right about a compiled pipeline before its first step runs on this machine."""

from typing import Any

from kfp_bert_components.errors import UserError
from kfp_bert_components.local.conditions import read_condition


def check_pipeline(spec: dict[str, Any]) -> None:
    """Check that a compiled pipeline can run on this machine.

    Args:
        spec: The pipeline, as read from its YAML.

    Raises:
        UserError: A condition cannot be decided, or a step needs its image.
    """
    for component in (spec["root"], *spec.get("components", {}).values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            read_condition(task.get("triggerPolicy", {}).get("condition", ""))
    for label, executor in spec.get("deploymentSpec", {}).get("executors", {}).items():
        _check_step(label.removeprefix("exec-"), executor)


def _check_step(name: str, executor: dict[str, Any]) -> None:
    command = executor.get("container", {}).get("command", [])
    # A lightweight Python component brings its code along; all others have it in their image.
    if "importer" not in executor and not any("ephemeral_component.py" in part for part in command):
        raise UserError(
            f"Step {name} is no lightweight Python component (@dsl.component) and needs its image: run the pipeline on "
            "a cluster, or without this step."
        )
