"""The OpenAPI document of the server, at /openapi.json. A test holds its paths to the server's routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kfp_bert_components import __version__
from kfp_bert_components.serving.engines import Engine
from kfp_bert_components.serving.limits import Limits
from kfp_bert_components.serving.tensorflow_rest import LABEL

Json = dict[str, Any]


def openapi(name: str, limits: Limits, engine: Engine | None) -> Json:
    """The document, as OpenAPI 3.1.

    Args:
        name: The model's name.
        limits: How large a request may be.
        engine: The model that answers now: its inputs are those of requests; None while none is loaded.
    """
    version = str(engine.version.number) if engine else "1"
    parameters = {
        "name": _parameter("name", {"enum": [name]}),
        "version": _parameter("version", {"pattern": "^[0-9]+$", "examples": [version]}),
        "label": _parameter("label", {"enum": [LABEL]}),
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kfp-bert serve",
            "version": __version__,
            "description": f"Text classification by the model {name!r}: TensorFlow Serving's REST API, and the Open "
            "Inference Protocol of KServe.",
        },
        "paths": {**_tensorflow_paths(), **_open_inference_paths(), **_own_paths()},
        "components": {
            "schemas": _schemas(engine.inputs if engine else ("text",), limits, name, version),
            "responses": _RESPONSES,
            "parameters": parameters,
        },
    }


def _tensorflow_paths() -> Json:
    paths: Json = {"/v1/models": _get("The name of the model, in a list", "Object")}
    model = "/v1/models/{name}"
    for path, among in (
        (model, ""),
        (f"{model}/versions/{{version}}", "version"),
        (f"{model}/labels/{{label}}", "label"),
    ):
        parameters = _parameters("name", among)
        asked = f" of the {among} in the address" if among else ""
        paths[path] = _get(f"The state{asked}", "Status", parameters)
        paths[f"{path}/metadata"] = _get(f"Inputs and outputs{asked}", "Object", parameters)
        paths[f"{path}:predict"] = _post(
            f"Predictions{asked}, in rows or columns", "Predict", "Predictions", parameters
        )
        paths[f"{path}:classify"] = _post(f"Classes and scores{asked}", "Classify", "Classes", parameters)
    return paths


def _open_inference_paths() -> Json:
    paths: Json = {
        "/v2": _get("Name, version and extensions of the server", "Object"),
        "/v2/health/live": _get("Whether the server runs", "Object"),
        "/v2/health/ready": _get("Whether a model is loaded", "Object"),
    }
    for path, versioned in (("/v2/models/{name}", False), ("/v2/models/{name}/versions/{version}", True)):
        parameters = _parameters("name", "version" if versioned else "")
        paths[path] = _get("Inputs and outputs of the model", "Object", parameters)
        paths[f"{path}/ready"] = _get("Whether the model is loaded", "Object", parameters)
        paths[f"{path}/infer"] = _post("Predictions as tensors", "Infer", "Inferred", parameters)
    return paths


def _own_paths() -> Json:
    return {
        "/healthz": _get("What is served, what is refused, and why", "Object"),
        "/metrics": _get("Metrics for Prometheus", "", media="text/plain"),
        "/openapi.json": _get("This document", "Object"),
    }


def _get(summary: str, answer: str, parameters: list[Json] | None = None, media: str = "application/json") -> Json:
    schema = _ref(answer) if answer else {"type": "string"}
    good = {"description": summary, "content": {media: {"schema": schema}}}
    return {
        "get": {"summary": summary, "parameters": parameters or [], "responses": {"200": good, **_errors("404", "503")}}
    }


def _post(summary: str, body: str, answer: str, parameters: list[Json]) -> Json:
    good = {"description": summary, "content": {"application/json": {"schema": _ref(answer)}}}
    return {
        "post": {
            "summary": summary,
            "parameters": parameters,
            "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(body)}}},
            "responses": {"200": good, **_errors(*_RESPONSES)},
        }
    }


def _parameter(name: str, schema: Json) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", **schema}}


def _parameters(*names: str) -> list[Json]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names if name]


def _ref(schema: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"}


def _errors(*statuses: str) -> Mapping[str, Json]:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


_RESPONSES: Json = {
    status: {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    for status, description in {
        "400": "The request is wrong: the error names the field",
        "404": "There is no such model, version or address",
        "408": "The request came too slowly",
        "413": "The body is too large",
        "415": "The body is compressed",
        "503": "No model is loaded yet, or too much is waiting: Retry-After says when to ask again",
    }.items()
}


def _schemas(inputs: Sequence[str], limits: Limits, name: str, version: str) -> Json:
    text = {"type": "string", "maxLength": limits.characters}
    coded = {
        "type": "object",
        "required": ["b64"],
        "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
        "additionalProperties": False,
    }
    value = {"anyOf": [text, coded]}
    single = len(inputs) == 1
    fields = _object(dict.fromkeys(inputs, value)) | {"additionalProperties": False}
    row = {"anyOf": [text, coded, fields]} if single else fields
    rows = {"type": "array", "minItems": 1, "maxItems": limits.instances, "items": row}
    column = {"type": "array", "minItems": 1, "maxItems": limits.instances, "items": value}
    columns = _object(dict.fromkeys(inputs, column)) | {"additionalProperties": False}
    signature = {"type": "string", "enum": ["serving_default", ""]}
    strings, numbers = {"type": "array", "items": {"type": "string"}}, {"type": "array", "items": {"type": "number"}}
    return {
        "Object": {"type": "object"},
        "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
        "Status": _object({"model_version_status": {"type": "array", "items": {"type": "object"}}}),
        "Predict": {
            "type": "object",
            "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
            "properties": {
                "instances": rows,
                "inputs": {"anyOf": [column, columns]} if single else columns,
                "signature_name": signature,
                "parameters": {},
            },
            "additionalProperties": False,
        },
        "Predictions": {
            "type": "object",
            "oneOf": [{"required": ["predictions"]}, {"required": ["outputs"]}],
            "properties": {
                "predictions": {
                    "type": "array",
                    "items": _object(
                        {"label": {"type": "string"}, "score": {"type": "number"}, "probabilities": numbers}
                    ),
                },
                "outputs": _object(
                    {"label": strings, "score": numbers, "probabilities": {"type": "array", "items": numbers}}
                ),
                "labels": {**strings, "description": "The classes in the order of the probabilities"},
            },
        },
        "Classify": {
            "type": "object",
            "required": ["examples"],
            "properties": {
                "examples": rows,
                "context": {"type": "object", "description": "Fields that all examples have in common"},
                "signature_name": signature,
            },
            "additionalProperties": False,
        },
        "Classes": _object({"result": {"type": "array", "items": {"type": "array", "items": {"type": "array"}}}}),
        "Infer": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": {"type": "string"},
                "model_name": {"enum": [name, "", None]},
                "model_version": {"enum": [version, "", None]},
                "parameters": {"type": "object"},
                "inputs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "shape", "datatype"],
                        "properties": {
                            "name": {"type": "string", "enum": list(inputs)},
                            "shape": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "integer"}},
                            "datatype": {"const": "BYTES"},
                            "parameters": {"type": "object"},
                            "data": {"type": "array", "items": value},
                        },
                    },
                },
                "outputs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"enum": ["label", "score", "probabilities", "labels"]},
                            "parameters": {"type": "object"},
                        },
                    },
                },
            },
            "additionalProperties": False,
        },
        "Inferred": _object(
            {
                "model_name": {"type": "string"},
                "model_version": {"type": "string"},
                "outputs": {"type": "array", "items": {"type": "object", "required": ["name", "datatype", "shape"]}},
            }
        ),
    }


def _object(properties: Json) -> Json:
    return {"type": "object", "required": list(properties), "properties": properties}
