"""The routes and messages of AI Platform, read off the client library's own transport definitions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from google.cloud import aiplatform_v1
from google.cloud.aiplatform_v1.services.endpoint_service.transports.rest_base import (
    _BaseEndpointServiceRestTransport,
)
from google.cloud.aiplatform_v1.services.job_service.transports.rest_base import _BaseJobServiceRestTransport
from google.cloud.aiplatform_v1.services.model_service.transports.rest_base import (
    _BaseModelServiceRestTransport,
)
from google.cloud.aiplatform_v1.services.prediction_service.transports.rest_base import (
    _BasePredictionServiceRestTransport,
)
from google.longrunning import operations_pb2
from google.protobuf import json_format

# Method -> the transport that defines it. What is not listed here does not exist for the fake.
METHODS = {
    "CreateEndpoint": _BaseEndpointServiceRestTransport,
    "GetEndpoint": _BaseEndpointServiceRestTransport,
    "ListEndpoints": _BaseEndpointServiceRestTransport,
    "UpdateEndpoint": _BaseEndpointServiceRestTransport,
    "DeployModel": _BaseEndpointServiceRestTransport,
    "UndeployModel": _BaseEndpointServiceRestTransport,
    "UploadModel": _BaseModelServiceRestTransport,
    "GetModel": _BaseModelServiceRestTransport,
    "ListModelVersions": _BaseModelServiceRestTransport,
    "DeleteModelVersion": _BaseModelServiceRestTransport,
    "MergeVersionAliases": _BaseModelServiceRestTransport,
    "Predict": _BasePredictionServiceRestTransport,
    "CreateCustomJob": _BaseJobServiceRestTransport,
    "GetCustomJob": _BaseJobServiceRestTransport,
    "ListCustomJobs": _BaseJobServiceRestTransport,
    "CancelCustomJob": _BaseJobServiceRestTransport,
    "GetOperation": _BaseEndpointServiceRestTransport,
    "ListOperations": _BaseEndpointServiceRestTransport,
    "CancelOperation": _BaseEndpointServiceRestTransport,
}
READ_ONLY = ("Get", "List")


@dataclass(frozen=True)
class Route:
    """One way to call a method over HTTP."""

    method: str
    verb: str
    pattern: re.Pattern[str]
    fields: tuple[str, ...]
    body: str

    def parse(self, match: re.Match[str], query: str, body: bytes) -> Any:
        """The request message; ValueError where it has a field that the API does not know."""
        content = json_format.json.loads(body) if body else {}
        message: dict[str, Any] = content if self.body == "*" else {self.body: content} if self.body else {}
        for name, value in parse_qsl(query):
            if not name.startswith("$"):
                _set(message, name, value)
        for name, value in zip(self.fields, match.groups(), strict=True):
            _set(message, name, value)
        kind = message_type(self.method)
        try:
            return json_format.ParseDict(message, kind.pb()() if hasattr(kind, "pb") else kind())
        except json_format.ParseError as error:
            raise ValueError(str(error)) from error


def message_type(method: str) -> Any:
    """The class of a method's request."""
    name = f"{method}Request"
    return getattr(operations_pb2, name) if "Operation" in method else getattr(aiplatform_v1, name)


def routes() -> list[Route]:
    """All routes of the methods above, in the client's spelling."""
    found = []
    for method, transport in METHODS.items():
        for option in getattr(transport, f"_Base{method}")._get_http_options():
            pattern, fields = _compile(option["uri"])
            found.append(Route(method, option["method"].upper(), pattern, fields, option.get("body", "")))
    return found


def _compile(uri: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """The regular expression of a URI template such as /v1/{parent=projects/*/locations/*}/endpoints."""
    pieces, fields = [], []
    for text, variable in re.findall(r"([^{]+)|\{([^}]+)\}", uri):
        if text:
            pieces.append(re.escape(text))
            continue
        name, _, template = variable.partition("=")
        fields.append(name)
        inner = re.escape(template or "*").replace(r"\*\*", ".+").replace(r"\*", "[^/:]+")
        pieces.append(f"({inner})")
    return re.compile("".join(pieces)), tuple(fields)


def _set(message: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        message = message.setdefault(parent, {})
    message[last] = {"true": True, "false": False}.get(value, value)
