"""A server that plays the part of MLflow's model registry that is used here, and a real MLflow server.

The same tests run on both. Bodies are held to MLflow's own protobuf: an unknown field is refused.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from tests.support.json_server import JsonServer, RefusedError
from tests.support.peers import peer_program

_API = "/api/2.0/mlflow/"
_START_SECONDS = 300


class MlflowRegistryServer(JsonServer):
    """Use it as a context manager.

    Attributes:
        models: The registered models by name: `aliases`, and `versions` by number, with `tags`, `source`, `run_link`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[str, dict[str, Any]] = {}

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """See `JsonServer.answer`."""
        call = (method, path.removeprefix(_API))
        match call:
            case ("GET", "registered-models/get"):
                return 200, {"registered_model": self._shown(self._model(query["name"]))}
            case ("GET", "registered-models/alias"):
                version = self._model(query["name"])["aliases"][query["alias"]]
                return 200, {"model_version": self._version({"name": query["name"], "version": version})}
            case ("POST", "registered-models/set-tag"):
                sent = _parsed("SetRegisteredModelTag", body)
                _set_tag(self._model(sent["name"])["tags"], sent)
                return 200, {}
            case ("POST", "registered-models/create"):
                return 200, {"registered_model": self._create_model(_parsed("CreateRegisteredModel", body))}
            case ("GET", "model-versions/search"):
                name = re.fullmatch(r"name = '([^']*)'", query["filter"])
                assert name
                found = self.models.get(name[1], {"versions": {}})["versions"].values()
                return 200, {"model_versions": list(reversed(found))}
            case ("POST", "model-versions/create"):
                return 200, {"model_version": self._create_version(_parsed("CreateModelVersion", body))}
            case ("POST", "model-versions/set-tag"):
                sent = _parsed("SetModelVersionTag", body)
                _set_tag(self._version(sent)["tags"], sent)
                return 200, {}
            case ("DELETE", "model-versions/delete"):
                sent = _parsed("DeleteModelVersion", body)
                self._version(sent)
                del self._model(sent["name"])["versions"][sent["version"]]
                return 200, {}
            case ("POST", "registered-models/alias"):
                sent = _parsed("SetRegisteredModelAlias", body)
                self._version(sent)
                self._model(sent["name"])["aliases"][sent["alias"]] = sent["version"]
                return 200, {}
        raise RefusedError(404, {"error_code": "ENDPOINT_NOT_FOUND", "message": f"there is no {call}"})

    def _model(self, name: str) -> dict[str, Any]:
        if name not in self.models:
            raise _refused(404, "RESOURCE_DOES_NOT_EXIST", f"Registered Model with name={name} not found")
        return self.models[name]

    def _version(self, sent: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, dict[str, Any]] = self._model(sent["name"])["versions"]
        if sent["version"] not in found:
            raise _refused(404, "RESOURCE_DOES_NOT_EXIST", f"there is no version {sent['version']}")
        return found[sent["version"]]

    def _shown(self, model: dict[str, Any]) -> dict[str, Any]:
        aliases = [{"alias": alias, "version": version} for alias, version in model["aliases"].items()]
        return {"name": model["name"], "tags": model["tags"], "aliases": aliases}

    def _create_model(self, sent: dict[str, Any]) -> dict[str, Any]:
        if sent["name"] in self.models:
            raise _refused(400, "RESOURCE_ALREADY_EXISTS", f"Registered Model (name={sent['name']}) already exists.")
        model = {"name": sent["name"], "tags": sent.get("tags", []), "aliases": {}, "versions": {}, "made": 0}
        self.models[sent["name"]] = model
        return self._shown(model)

    def _create_version(self, sent: dict[str, Any]) -> dict[str, Any]:
        model = self._model(sent["name"])
        if sent["source"].startswith(("/", "file:")):
            raise _refused(400, "INVALID_PARAMETER_VALUE", f"Invalid model version source: '{sent['source']}'.")
        model["made"] += 1  # a number is never given twice
        version = {"version": str(model["made"]), "status": "READY", "tags": [], **sent}
        model["versions"][version["version"]] = version
        return version


def _parsed(message: str, body: Any) -> dict[str, Any]:
    from mlflow.protos import model_registry_pb2

    sent = json_format.ParseDict(body, getattr(model_registry_pb2, message)())
    return json_format.MessageToDict(sent, preserving_proto_field_name=True)


def _set_tag(tags: list[dict[str, str]], sent: dict[str, Any]) -> None:
    tags[:] = [tag for tag in tags if tag["key"] != sent["key"]]
    tags.append({"key": sent["key"], "value": sent["value"]})


def _refused(status: int, code: str, message: str) -> RefusedError:
    return RefusedError(status, {"error_code": code, "message": message})


@contextlib.contextmanager
def real_mlflow(folder: Path) -> Iterator[str]:
    """A real MLflow server with SQLite in a folder; gives its address. Skipped where it is not installed."""
    program = peer_program("MLflow", "mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "server", "--host", "127.0.0.1", "--port", port, "--workers", 1]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--default-artifact-root", folder / "artifacts"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            list(map(str, command)), stdout=log, stderr=log, env=environment, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/health", server, folder / "log")
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, 15)  # its workers too
        server.wait(30)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.2)
    pytest.fail(f"MLflow did not start:\n{log.read_text(errors='replace')[-3000:]}")
