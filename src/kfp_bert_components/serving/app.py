"""The server as an ASGI application: its addresses, and how errors are answered."""

from __future__ import annotations

import asyncio
import math
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from kfp_bert_components.errors import UserError
from kfp_bert_components.serving.batching import Batcher, BusyError
from kfp_bert_components.serving.engines import Threads
from kfp_bert_components.serving.limits import Limits
from kfp_bert_components.serving.manager import ModelManager
from kfp_bert_components.serving.metrics import CONTENT_TYPE, Metrics
from kfp_bert_components.serving.observed import HUNG_UP, Observed
from kfp_bert_components.serving.open_inference import open_inference_routes
from kfp_bert_components.serving.openapi import openapi
from kfp_bert_components.serving.page import page_routes
from kfp_bert_components.serving.service import LOADING, JsonResponse, Service
from kfp_bert_components.serving.tensorflow_rest import ai_platform_routes, tensorflow_routes
from kfp_bert_components.serving.unread import Unread

if TYPE_CHECKING:
    from starlette.requests import Request

MODEL_NAME = "bert"


class _ModelName(StringConvertor):
    regex = "[^/:]+"  # the part before ":predict"


register_url_convertor("model", _ModelName())


def create_app(
    path: str | Path,
    *,
    name: str = MODEL_NAME,
    limits: Limits | None = None,
    poll_seconds: float = 2.0,
    compiled: bool = False,
    threads: int = 0,
    access_log: Callable[[str], object] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Starlette:
    """The server as an ASGI application, which loads the model when it is started.

    Args:
        path: A model bundle, a SavedModel folder, a folder with one of these per version number, or a registry; here,
            on gs:// or on s3://. Of versions the newest is served, of a registry its champion, and replaced as soon as
            another is there.
        name: The name that requests give the model: characters that show, without a slash and a colon.
        limits: How large a request may be, and how much the server holds; see `Limits`.
        poll_seconds: Seconds between two looks for a newer version.
        compiled: Whether a model that TensorFlow answers is compiled for single short texts, in the background once it
            answers. On a machine with a GPU it is never compiled.
        threads: How many threads the model uses; 0: as many as there are cores, or as a container may use.
        access_log: Called with one line of JSON for each request; None for no log.
        environment: Where AI Platform says which addresses it asks: AIP_PREDICT_ROUTE and AIP_HEALTH_ROUTE.

    Raises:
        NotFoundError: There is nothing at `path`.
        UserError: What lies at `path` is no model, or `name` can be no part of an address.
    """
    if not re.fullmatch(_ModelName.regex, name) or not name.isprintable() or name in (".", ".."):
        raise UserError(f"The name of the model is {name!r}: give one that shows, without a slash and a colon.")
    limits = limits or Limits()
    models = ModelManager(path, poll_seconds, compiled=compiled, threads=Threads.of_machine(threads))
    # No more than can be answered when the server ends.
    batcher = Batcher(min(limits.wait_seconds, limits.drain_seconds))
    metrics = Metrics(models, batcher.waiting)
    batcher.observe = metrics.observe_call
    service = Service(name, models, batcher, limits)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        batcher.start()
        models.start()
        yield
        app.state.ended = all(await asyncio.gather(*map(asyncio.to_thread, (models.stop, batcher.stop))))

    async def health(request: Request) -> Response:
        refused = [{"version": one.number, "reason": one.reason, "tries": one.tries} for one in models.refused.values()]
        if not (engine := models.model):
            return JsonResponse({"error": models.problem or LOADING, "refused": refused}, 503)
        version = engine.version
        served = {"version": version.number, "registry_version": version.registry_version}
        known = {"fingerprint": version.fingerprint, "engine": engine.name}
        return JsonResponse({"status": "ok", **served, **known, "problem": models.problem, "refused": refused})

    async def prometheus(request: Request) -> Response:
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def description(request: Request) -> Response:
        return JsonResponse(openapi(name, limits, models.model))

    routes = [
        *ai_platform_routes(service, environment),
        *tensorflow_routes(service),
        *open_inference_routes(service),
        Route("/healthz", health, methods=["GET"]),
        Route("/metrics", prometheus, methods=["GET"]),
        Route("/openapi.json", description, methods=["GET"]),
        *page_routes(path, models, limits, f"v1/models/{quote(name, safe='')}:predict"),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(Observed, metrics=metrics, log=access_log), Middleware(Unread)],
        exception_handlers={
            HTTPException: _http_error,
            UserError: _bad_request,
            BusyError: _busy,
            ClientDisconnect: _gone,
        },
    )
    app.router.redirect_slashes = False
    app.state.models, app.state.metrics = models, metrics
    return app


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JsonResponse({"error": message}, status, headers)


async def _http_error(request: Request, error: Any) -> Response:
    message = error.detail
    if error.status_code == 405:
        allowed = ", ".join(sorted(error.headers["Allow"].split(", ")))
        message = f"{request.method} is not allowed at {request.url.path[:200]}: use {allowed}."
    elif error.status_code == 404 and message == "Not Found":
        message = f"There is nothing at {request.url.path[:200]}: /openapi.json says what there is."
    return _error(error.status_code, message, error.headers)


async def _bad_request(request: Request, error: Exception) -> Response:
    return _error(400, str(error))


async def _busy(request: Request, error: Any) -> Response:
    return _error(503, str(error), {"Retry-After": str(math.ceil(error.seconds))})


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=HUNG_UP)
