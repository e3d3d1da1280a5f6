"""A server that plays Kubeflow Model Registry. It is held to what a real one said: `model_registry_api.jsonl`.

Of the API v1 no server was recorded. That it differs in its address alone is what its client, model-registry 0.3.18,
says: it has the same paths and fields that are used here.
"""

from __future__ import annotations

from itertools import count
from typing import Any
from urllib.parse import unquote

from tests.support.json_server import JsonServer, RefusedError

_COMMON = {"name", "description", "externalId", "customProperties", "state"}
_FIELDS = {
    "registered_models": _COMMON | {"owner"},
    "model_versions": _COMMON | {"author", "registeredModelId"},
    "model_artifacts": _COMMON
    | {
        "artifactType",
        "uri",
        "modelFormatName",
        "modelFormatVersion",
        "storageKey",
        "storagePath",
        "serviceAccountName",
    }
    | {f"modelSource{name}" for name in ("Kind", "Class", "Group", "Id", "Name")},
}
_WORDS = {
    "registered_models": "registered model",
    "model_versions": "model version",
    "model_artifacts": "model artifact",
}
_VALUES = {
    "MetadataStringValue": ("string_value", str),
    "MetadataDoubleValue": ("double_value", (int, float)),
    "MetadataIntValue": ("int_value", str),
    "MetadataBoolValue": ("bool_value", bool),
}
_LONGEST = 255  # of a name


class ModelRegistryServer(JsonServer):
    """Use it as a context manager.

    Args:
        api: The one API that it has.

    Attributes:
        kinds: The objects of each kind by id, as they are answered.
    """

    def __init__(self, api: str = "v1alpha3") -> None:
        super().__init__()
        self.api = api
        self.kinds: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in _FIELDS}
        self._parents: dict[str, str] = {}  # of artifacts
        contexts = count(1)  # models and versions are of one table
        self._ids = {"registered_models": contexts, "model_versions": contexts, "model_artifacts": count(1)}
        self._now = count(1795880811307)

    def named(self, kind: str) -> dict[str, dict[str, Any]]:
        """The objects of a kind by name, of which there must be one each."""
        found = {one["name"]: one for one in self.kinds[kind].values()}
        assert len(found) == len(self.kinds[kind])
        return found

    def properties(self, kind: str, name: str) -> dict[str, Any]:
        """The values of an object's custom properties."""
        values = self.named(kind)[name]["customProperties"]
        return {name: value[_VALUES[value["metadataType"]][0]] for name, value in values.items()}

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """See `JsonServer.answer`."""
        start = f"/api/model_registry/{self.api}/"
        if not path.startswith(start):
            raise RefusedError(404, "404 page not found\n")
        match [method, *unquote(path.removeprefix(start)).split("/")]:
            case ["GET", "registered_models"]:
                return 200, self._page(list(self.kinds["registered_models"].values()), query)
            case ["GET", "registered_models", parent, "versions"]:
                return 200, self._page(self._children("model_versions", parent), query)
            case ["GET", "registered_model" | "model_version" | "model_artifact" as one]:
                return 200, self._find(f"{one}s", query)
            case ["POST", "registered_models" | "model_versions" as kind]:
                return 201, self._create(kind, body, body.get("registeredModelId", ""))
            case ["POST", "model_versions", parent, "artifacts"]:
                return 201, self._create("model_artifacts", body, parent)
            case ["PATCH", "registered_models" | "model_versions" as kind, one]:
                return 200, self._change(kind, one, body)
            case ["DELETE", "registered_models" | "model_versions", _]:
                raise RefusedError(405, "")
        raise RefusedError(404, "404 page not found\n")

    def _page(self, found: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        size = int(query.get("pageSize", 0))
        found = found[:size] if size else found
        return {"items": found, "nextPageToken": "", "pageSize": size, "size": len(found)}

    def _children(self, kind: str, parent: str) -> list[dict[str, Any]]:
        every = self.kinds[kind].values()
        if kind == "model_versions":
            return [one for one in every if one["registeredModelId"] == parent]
        return [one for one in every if not parent or self._parents[one["id"]] == parent]

    def _find(self, kind: str, query: dict[str, str]) -> dict[str, Any]:
        name, parent = query["name"], query.get("parentResourceId", "")
        among = self.kinds[kind].values() if kind == "registered_models" else self._children(kind, parent)
        for one in among:
            if one["name"] == name:
                return one
        of = f", parentResourceId={parent}" if parent else ""
        raise _refused(404, f"no {_WORDS[kind]}s found for name={name}{of}, externalId=: not found")

    def _create(self, kind: str, body: dict[str, Any], parent: str) -> dict[str, Any]:
        _check(kind, body)
        if len(body["name"]) > _LONGEST:
            text = f"error saving {_WORDS[kind]}: Error 1406 (22001): Data too long for column 'name' at row 1"
            raise _refused(500, text)
        identity = str(next(self._ids[kind]))  # a refused one has used its number, too
        among = self.kinds[kind].values() if kind == "registered_models" else self._children(kind, parent)
        if any(one["name"] == body["name"] for one in among):
            raise _refused(409, f"{_WORDS[kind]} with name {body['name']} already exists: conflict")
        at = str(next(self._now))
        made = {"createTimeSinceEpoch": at, "customProperties": {}, "id": identity, "lastUpdateTimeSinceEpoch": at}
        made |= {} if kind == "model_artifacts" else {"state": "LIVE"}
        self.kinds[kind][identity] = made | body
        if kind == "model_artifacts":
            self._parents[identity] = parent
        return self.kinds[kind][identity]

    def _change(self, kind: str, one: str, body: dict[str, Any]) -> dict[str, Any]:
        _check(kind, body)
        if one not in self.kinds[kind]:
            raise _refused(404, f"no {_WORDS[kind]} found for id={one}: not found")
        # customProperties as a whole: those that are not sent are gone.
        self.kinds[kind][one] |= body | {"lastUpdateTimeSinceEpoch": str(next(self._now))}
        return self.kinds[kind][one]


def _check(kind: str, body: dict[str, Any]) -> None:
    for name in body:
        if name not in _FIELDS[kind]:
            raise _refused(400, f'json: unknown field "{name}"')
    for value in body.get("customProperties", {}).values():
        field, types = _VALUES[value["metadataType"]]
        if set(value) != {"metadataType", field} or not isinstance(value[field], types):
            raise _refused(400, f"no value of its type: {value}")


def _refused(status: int, message: str) -> RefusedError:
    code = {400: "Bad Request", 404: "Not Found", 409: "Conflict", 500: "Internal Server Error"}[status]
    return RefusedError(status, {"code": code, "message": message})
