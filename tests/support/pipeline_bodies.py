"""What servers that run pipelines refuse: a specification that is none, parameters that do not fit it."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

KINDS: dict[str, Any] = {
    "STRING": str,
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}


def check_run(spec: dict[str, Any], values: dict[str, Any]) -> None:
    """ValueError where a specification has an unknown field, or values are not those of its parameters."""
    try:
        parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    except json_format.ParseError as error:
        raise ValueError(str(error)) from None
    parameters = parsed.root.input_definitions.parameters
    if unknown := values.keys() - parameters.keys():
        raise ValueError(f"unknown parameters {sorted(unknown)}")
    for name, one in parameters.items():
        kind = pipeline_spec_pb2.ParameterType.ParameterTypeEnum.Name(one.parameter_type)
        if name not in values and not one.is_optional:
            raise ValueError(f"parameter {name} is missing")
        if name in values and not isinstance(values[name], KINDS[kind]):
            raise ValueError(f"parameter {name} is no {kind}")
