"""The routes of AI Platform, and its messages by the client library's own types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from google.cloud import aiplatform_v1
from google.longrunning import operations_pb2
from google.protobuf import json_format

ENDPOINT = "projects/*/locations/*/endpoints/*"
MODEL = "projects/*/locations/*/models/*"
JOB = "projects/*/locations/*/customJobs/*"
BATCH = "projects/*/locations/*/batchPredictionJobs/*"
RUN = "projects/*/locations/*/pipelineJobs/*"
SCHEDULE = "projects/*/locations/*/schedules/*"

# Method -> verb, URI and what the body is ("*": all of the message), as in the API's reference. What is not listed
# here does not exist for the fake. Of the paths of an operation the client takes the first, which begins with /ui.
METHODS = {
    "CreateEndpoint": ("POST", "/v1/{parent=projects/*/locations/*}/endpoints", "endpoint"),
    "GetEndpoint": ("GET", f"/v1/{{name={ENDPOINT}}}", ""),
    "ListEndpoints": ("GET", "/v1/{parent=projects/*/locations/*}/endpoints", ""),
    "UpdateEndpoint": ("PATCH", f"/v1/{{endpoint.name={ENDPOINT}}}", "endpoint"),
    "DeployModel": ("POST", f"/v1/{{endpoint={ENDPOINT}}}:deployModel", "*"),
    "UndeployModel": ("POST", f"/v1/{{endpoint={ENDPOINT}}}:undeployModel", "*"),
    "UploadModel": ("POST", "/v1/{parent=projects/*/locations/*}/models:upload", "*"),
    "GetModel": ("GET", f"/v1/{{name={MODEL}}}", ""),
    "ListModelVersions": ("GET", f"/v1/{{name={MODEL}}}:listVersions", ""),
    "DeleteModelVersion": ("DELETE", f"/v1/{{name={MODEL}}}:deleteVersion", ""),
    "MergeVersionAliases": ("POST", f"/v1/{{name={MODEL}}}:mergeVersionAliases", "*"),
    "Predict": ("POST", f"/v1/{{endpoint={ENDPOINT}}}:predict", "*"),
    "CreateCustomJob": ("POST", "/v1/{parent=projects/*/locations/*}/customJobs", "custom_job"),
    "GetCustomJob": ("GET", f"/v1/{{name={JOB}}}", ""),
    "ListCustomJobs": ("GET", "/v1/{parent=projects/*/locations/*}/customJobs", ""),
    "CancelCustomJob": ("POST", f"/v1/{{name={JOB}}}:cancel", "*"),
    "CreateBatchPredictionJob": (
        "POST",
        "/v1/{parent=projects/*/locations/*}/batchPredictionJobs",
        "batch_prediction_job",
    ),
    "GetBatchPredictionJob": ("GET", f"/v1/{{name={BATCH}}}", ""),
    "ListBatchPredictionJobs": ("GET", "/v1/{parent=projects/*/locations/*}/batchPredictionJobs", ""),
    "CancelBatchPredictionJob": ("POST", f"/v1/{{name={BATCH}}}:cancel", "*"),
    "CreatePipelineJob": ("POST", "/v1/{parent=projects/*/locations/*}/pipelineJobs", "pipeline_job"),
    "GetPipelineJob": ("GET", f"/v1/{{name={RUN}}}", ""),
    "ListPipelineJobs": ("GET", "/v1/{parent=projects/*/locations/*}/pipelineJobs", ""),
    "CreateSchedule": ("POST", "/v1/{parent=projects/*/locations/*}/schedules", "schedule"),
    "ListSchedules": ("GET", "/v1/{parent=projects/*/locations/*}/schedules", ""),
    "PauseSchedule": ("POST", f"/v1/{{name={SCHEDULE}}}:pause", "*"),
    "ResumeSchedule": ("POST", f"/v1/{{name={SCHEDULE}}}:resume", "*"),
    "DeleteSchedule": ("DELETE", f"/v1/{{name={SCHEDULE}}}", ""),
    "GetOperation": ("GET", "/ui/{name=projects/**/operations/*}", ""),
    "ListOperations": ("GET", "/ui/{name=projects/**}/operations", ""),
    "CancelOperation": ("POST", "/ui/{name=projects/**/operations/*}:cancel", ""),
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
    """All routes of the methods above."""
    return [Route(method, verb, *_compile(uri), body) for method, (verb, uri, body) in METHODS.items()]


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
