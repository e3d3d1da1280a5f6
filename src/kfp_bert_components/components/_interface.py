"""What a compiled component or pipeline takes and gives."""

from collections.abc import Iterator
from typing import Any

_TYPES = {
    "STRING": "str",
    "NUMBER_INTEGER": "int",
    "NUMBER_DOUBLE": "float",
    "BOOLEAN": "bool",
    "LIST": "list",
    "STRUCT": "dict",
    "TASK_FINAL_STATUS": "PipelineTaskFinalStatus",
}


def inputs_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The inputs of a compiled component or pipeline, artifacts first.

    Returns:
        For each its `name`, `type`, `required` and `description`; of a parameter that has one also its `default`.
    """
    return list(_described(spec["root"].get("inputDefinitions", {})))


def outputs_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The outputs of a compiled component or pipeline, artifacts first: `name`, `type` and `description` of each."""
    found = _described(spec["root"].get("outputDefinitions", {}))
    return [{key: one[key] for key in ("name", "type", "description")} for one in found]


def _described(definitions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for group in ("artifacts", "parameters"):
        for name, one in definitions.get(group, {}).items():
            described = {
                "name": name,
                "type": _type(one),
                "required": not one.get("isOptional", False),
                "description": " ".join(one.get("description", "").split()),
            }
            yield described | ({"default": _default(one)} if "defaultValue" in one else {})


def _default(definition: dict[str, Any]) -> Any:
    """The default as its type writes it: in a spec every number is a float."""
    value = definition["defaultValue"]
    return int(value) if definition["parameterType"] == "NUMBER_INTEGER" else value


def _type(definition: dict[str, Any]) -> str:
    if "artifactType" in definition:
        kind = definition["artifactType"]["schemaTitle"].removeprefix("system.")
        return f"list of {kind}" if definition.get("isArtifactList") else kind
    return _TYPES[definition["parameterType"]]
