"""The REST API: requests and answers have the form of TensorFlow Serving and AI Platform."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from kfp_bert_components.errors import UserError
from kfp_bert_components.serving.instances import Limits, parse
from kfp_bert_components.serving.manager import ModelManager
from kfp_bert_components.serving.page import page_routes

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

MODEL_NAME = "bert"
LOADING = "The model is still loading: try again in a few seconds."


class _ModelName(StringConvertor):
    regex = "[^/:]+"  # the part before ":predict"


register_url_convertor("model", _ModelName())


def create_app(
    path: str | Path, *, limits: Limits | None = None, poll_seconds: float = 2.0, compiled: bool = False
) -> Starlette:
    """The server as an ASGI application, which loads the model when it is started.

    Args:
        path: A model bundle, a SavedModel folder, or a folder with one SavedModel per version number, whose
            newest version is served, and replaced as soon as a newer one is there.
        limits: How large a request may be; by default 1,024 texts of 100,000 characters and 16 MiB.
        poll_seconds: Seconds between two looks for a newer version.
        compiled: Whether the network is compiled for single short texts, in the background once the model answers. On
            a machine with a GPU it is never compiled.

    Raises:
        NotFoundError: There is nothing at `path`.
        UserError: What lies at `path` is no model.
    """
    models = ModelManager(Path(path), poll_seconds, compiled=compiled)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        models.start()
        yield
        models.stop()

    limits = limits or Limits()
    handlers = _Handlers(models, limits)
    routes = [
        Route("/healthz", handlers.health, methods=["GET"]),
        Route("/v1/models/{name:model}:predict", handlers.predict, methods=["POST"]),
        Route("/v1/models/{name:model}/versions/{version:int}:predict", handlers.predict, methods=["POST"]),
        Route("/v1/models/{name:model}/versions/{version:int}", handlers.status, methods=["GET"]),
        Route("/v1/models/{name:model}", handlers.status, methods=["GET"]),
        *page_routes(path, models, limits, f"v1/models/{MODEL_NAME}:predict"),
    ]
    error_handlers = {HTTPException: _http_error, Exception: _unexpected_error}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=error_handlers)
    app.state.models = models
    return app


class _Handlers:
    def __init__(self, models: ModelManager, limits: Limits) -> None:
        self._models, self._limits = models, limits

    async def health(self, request: Request) -> Response:
        if not self._models.model:
            return _error(503, self._models.problem or LOADING)
        loaded = self._models.model.version
        return JSONResponse(
            {
                "status": "ok",
                "version": loaded.number,
                "registry_version": loaded.registry_version,
                "fingerprint": loaded.fingerprint,
            }
        )

    async def status(self, request: Request) -> Response:
        self._check_name(request)
        model = self._models.model
        asked = request.path_params.get("version")
        if asked and model and asked != model.version.number:
            raise HTTPException(404, f"Version {asked} is not loaded: version {model.version.number} is.")
        state, version = ("AVAILABLE", model.version.number) if model else ("LOADING", 0)
        status = {"error_code": "OK", "error_message": self._models.problem}
        entry: dict[str, Any] = {"version": str(version), "state": state, "status": status}
        if model:  # beyond TensorFlow Serving: what is behind the number
            entry |= {"registry_version": model.version.registry_version, "fingerprint": model.version.fingerprint}
        return JSONResponse({"model_version_status": [entry]})

    async def predict(self, request: Request) -> Response:
        self._check_name(request)
        body = await _read(request, self._limits.body_bytes)
        model = self._models.model  # this request keeps it to its end, even when a newer version takes over
        if not model:
            return _error(503, self._models.problem or LOADING)
        version = request.path_params.get("version", model.version.number)
        if version != model.version.number:
            raise HTTPException(404, f"Version {version} is not loaded: version {model.version.number} is.")
        try:
            instances = parse(body, model.inputs, self._limits)
        except UserError as error:
            return _error(400, str(error))
        # TensorFlow works outside of the event loop, so that health is answered meanwhile.
        predictions = await anyio.to_thread.run_sync(model.predict, instances)
        return JSONResponse({"predictions": predictions})

    def _check_name(self, request: Request) -> None:
        if (name := request.path_params["name"]) != MODEL_NAME:
            raise HTTPException(404, f"There is no model {name!r}: the only one is {MODEL_NAME!r}.")


async def _read(request: Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise HTTPException(413, f"The body is too large: send at most {most} bytes.")
    return bytes(body)


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = error.detail
    if error.status_code == 405:
        allowed = "POST" if request.url.path.endswith(":predict") else "GET"
        message = f"{request.method} is not allowed at {request.url.path}: use {allowed}."
    elif error.status_code == 404 and message == "Not Found":
        message = f"There is nothing at {request.url.path}: POST to /v1/models/{MODEL_NAME}:predict."
    return JSONResponse({"error": message}, status_code=error.status_code, headers=error.headers)


async def _unexpected_error(request: Request, error: Exception) -> Response:
    return _error(500, "The model failed on this request: see the log of the server.")
