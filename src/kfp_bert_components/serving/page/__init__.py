"""The page at `/`, on which people ask the model: its files, and what it shows of the model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from importlib import resources
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kfp_bert_components.serving.about import Identity, registry_facts, served_facts

if TYPE_CHECKING:
    from starlette.requests import Request

    from kfp_bert_components.serving.limits import Limits
    from kfp_bert_components.serving.manager import ModelManager

FILES = {
    "/": ("index.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/elements.js": ("elements.js", "text/javascript"),
    "/model.js": ("model.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS = {
    # Scripts, styles and requests from this server only, and no text as HTML, whatever a label or a card holds.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
READ_AGAIN_SECONDS = 60.0  # what a registry says of a version changes: it may be deployed, or rolled back
WAIT_SECONDS = 2.0  # for a registry, which may be far away: the page asks again


def page_routes(path: str | Path, models: ModelManager, limits: Limits, predict: str) -> list[Route]:
    """The routes of the page, its files, and `/about`, the JSON that it shows.

    Args:
        path: What is served, as in `create_app`.
        models: The model that answers.
        limits: How large a request may be.
        predict: Where to ask the model, relative to the page.
    """
    registry = _InBackground(lambda identity: registry_facts(path, identity))

    async def about(request: Request) -> Response:
        model = models.model
        if not model:
            return JSONResponse({"error": models.problem or "The model is still loading."}, 503, HEADERS)
        facts, identity = served_facts(model.version)
        most = {name: getattr(limits, name) for name in ("instances", "characters", "body_bytes")}
        shown = {"predict": predict, "inputs": model.inputs, "limits": most, **facts, **await registry.get(identity)}
        return JSONResponse(shown, headers=HEADERS)

    folder = resources.files(__package__)
    pages = [
        Route(url, _file(folder.joinpath(name).read_bytes(), kind), methods=["GET"], include_in_schema=False)
        for url, (name, kind) in FILES.items()
    ]
    return [*pages, Route("/about", about, methods=["GET"], include_in_schema=False)]


def _file(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind, headers=HEADERS)

    return answer


class _InBackground:
    """Reads the facts of a model in a thread, one read at a time, and keeps them for a while."""

    def __init__(self, read: Callable[[Identity], dict[str, Any]]) -> None:
        self._read = read
        self._identity: Identity | None = None
        self._facts: Future[dict[str, Any]] = Future()
        self._until = 0.0

    async def get(self, identity: Identity) -> dict[str, Any]:
        if identity != self._identity or (self._facts.done() and time.monotonic() > self._until):
            self._identity, self._facts = identity, Future()
            self._until = time.monotonic() + READ_AGAIN_SECONDS
            # A daemon: a registry that does not answer must not hold up the end of the server.
            Thread(target=self._work, args=(identity, self._facts), name="registry", daemon=True).start()
        done, _ = await asyncio.wait([asyncio.wrap_future(self._facts)], timeout=WAIT_SECONDS)
        return next(iter(done)).result() if done else {"registry_problem": "The registry does not answer yet."}

    def _work(self, identity: Identity, facts: Future[dict[str, Any]]) -> None:
        facts.set_result(self._read(identity))
