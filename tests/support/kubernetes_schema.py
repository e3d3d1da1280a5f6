"""Bodies checked by the schema of a CustomResourceDefinition, as a real API server does.

The schema of InferenceServices is the real one without its descriptions, as a compressed file beside this one. Where
the definition lies beside the project,

    python -m tests.support.kubernetes_schema ../shared/data/kserve/inferenceservices.crd.yaml

writes the file again.
"""

from __future__ import annotations

import json
import lzma
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.kubernetes_resources import Resource
from tests.support.kubernetes_store import ApiError, Object

FILE = Path(__file__).with_name("kubernetes_inferenceservice_schema.json.xz")
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def read_definition(file: Path) -> Any:
    """The openAPIV3Schema of version v1beta1 in a CustomResourceDefinition, without descriptions."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    versions = yaml.load(file.read_text(), Loader=loader)["spec"]["versions"]
    (schema,) = [one["schema"]["openAPIV3Schema"] for one in versions if one["name"] == "v1beta1"]
    return _without_descriptions(schema)


@cache
def inference_service_schema() -> Any:
    """The openAPIV3Schema of InferenceServices."""
    return json.loads(lzma.decompress(FILE.read_bytes()))


def check_body(resource: Resource, body: Object, validation: str) -> tuple[Object, list[str]]:
    """The body without the fields that the schema does not know, and the warnings about them.

    Args:
        resource: What it is to be.
        body: The object.
        validation: "Strict": unknown fields are an error (400); "Warn" or "": they are told; "Ignore": they are not.

    Raises:
        ApiError: 422 with the fields that are wrong.
    """
    if resource.kind != "InferenceService":
        return body, []
    causes: list[Object] = []
    unknown: list[str] = []
    pruned = _checked(inference_service_schema(), body, "", causes, unknown)
    if unknown and validation == "Strict":
        listed = ", ".join(f'unknown field "{one}"' for one in unknown)
        kind = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
        raise ApiError(400, "BadRequest", f"{kind}: strict decoding error: {listed}")
    if causes:
        raise invalid(resource, body["metadata"].get("name", ""), causes)
    warnings = [] if validation == "Ignore" else [f'unknown field "{one}"' for one in unknown]
    return pruned, warnings


def invalid(resource: Resource, name: str, causes: list[Object]) -> ApiError:
    """The 422 that names fields."""
    listed = [f"{one['field']}: {one['message']}" for one in causes]
    told = listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"
    details = {"name": name, "group": resource.group, "kind": resource.kind, "causes": causes}
    return ApiError(422, "Invalid", f'{resource.kind}.{resource.group} "{name}" is invalid: {told}', details)


def _checked(schema: Object, value: Any, path: str, causes: list[Object], unknown: list[str]) -> Any:
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return value
    kind = schema.get("type", "")
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, int | str):
            causes.append(_cause("FieldValueTypeInvalid", path, f"must be of type integer or string: {_type(value)}"))
        return value
    wrong = kind in TYPES and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"))
    if wrong:
        told = f'Invalid value: "{_type(value)}": {path} in body must be of type {kind}: "{_type(value)}"'
        causes.append(_cause("FieldValueTypeInvalid", path, told))
        return value
    if value not in schema.get("enum", [value]):
        named = ", ".join(f'"{one}"' for one in schema["enum"])
        told = f'Unsupported value: "{value}": supported values: {named}'
        causes.append(_cause("FieldValueNotSupported", path, told))
    if kind == "array" and "items" in schema:
        return [_checked(schema["items"], one, f"{path}[{i}]", causes, unknown) for i, one in enumerate(value)]
    if kind == "object":
        return _checked_object(schema, value, path, causes, unknown)
    return value


def _checked_object(schema: Object, value: Object, path: str, causes: list[Object], unknown: list[str]) -> Object:
    properties, rest = schema.get("properties"), schema.get("additionalProperties")
    for name in schema.get("required", []):
        if name not in value:
            causes.append(_cause("FieldValueRequired", _join(path, name), "Required value"))
    if properties is None and rest is None:  # metadata, which the API server knows by itself
        return value
    result = {}
    for name, inner in value.items():
        if name in (properties or {}):
            result[name] = _checked(properties[name], inner, _join(path, name), causes, unknown)
        elif rest is not None:
            result[name] = _checked(rest, inner, _join(path, name), causes, unknown) if rest is not True else inner
        else:
            unknown.append(_join(path, name))
    return result


def _without_descriptions(schema: Any) -> Any:
    """A schema without the texts for people; a property of that name stays."""
    if isinstance(schema, list):
        return [_without_descriptions(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: value for name, value in schema.items() if not (name == "description" and isinstance(value, str))}
    return {name: _without_descriptions(value) for name, value in kept.items()}


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _cause(reason: str, path: str, message: str) -> Object:
    return {"reason": reason, "message": message, "field": path}


def _type(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    return names.get(type(value), "null")


if __name__ == "__main__":
    text = json.dumps(read_definition(Path(sys.argv[1])), separators=(",", ":"), sort_keys=True)
    FILE.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
