"""Around every request: its id, its numbers for Prometheus, and its line in the access log, without texts."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kfp_bert_components.serving.metrics import Metrics

ID = "x-request-id"
VERSION = "x-model-version"  # the number of the version that answers
_GOOD_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRACE = re.compile(r"[0-9a-f]{2}(-[0-9a-f]+){2}-[0-9a-f]{2}(-[\x21-\x7e]*)?")  # W3C Trace Context
ENDS = "The server ends: send the request again, to another one."
FAILED = "The model failed on this request: see the log of the server."
HUNG_UP = 499  # what is logged where the client is gone; nobody gets it


class Observed:
    """An ASGI application around another one.

    Args:
        app: The application.
        metrics: Where requests are counted.
        log: Called with a line of JSON for each request; None for no access log.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, log: Callable[[str], object] | None = None) -> None:
        self._app, self._metrics, self._log = app, metrics, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or start and end the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, started, status, sent = Headers(scope=scope), time.perf_counter(), HUNG_UP, False
        name = headers.get(ID, "")
        name = name if _GOOD_ID.fullmatch(name) else uuid.uuid4().hex
        scope.setdefault("state", {})

        async def send_with_id(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status, sent = message["status"], True
                added = MutableHeaders(scope=message)
                added[ID] = name
                if "version" in scope["state"]:
                    added[VERSION] = str(scope["state"]["version"])
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            if not sent:
                await JSONResponse({"error": FAILED}, 500)(scope, receive, send_with_id)
            status = 500
            raise  # the server logs it
        except asyncio.CancelledError:  # the server ends, and its time for requests under way is over
            if not sent:
                ends = JSONResponse({"error": ENDS}, 503, {"Retry-After": "1", "Connection": "close"})
                await ends(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            handler = getattr(scope.get("endpoint"), "__name__", "none")
            self._metrics.requests.labels(handler, status).inc()
            self._metrics.seconds.labels(handler).observe(seconds)
            if self._log:
                self._log(_line(scope, headers, name, status, seconds))


def _line(scope: Scope, headers: Headers, name: str, status: int, seconds: float) -> str:
    now = time.time()
    fields: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z",
        "request_id": name,
        "method": scope["method"],
        "path": scope["path"][:500],
        "status": status,
        "milliseconds": round(seconds * 1000, 3),
        "client": scope["client"][0] if scope.get("client") else "",
    }
    if _TRACE.fullmatch(trace := headers.get("traceparent", "")):
        fields["traceparent"] = trace
    state = scope["state"]
    fields |= {key: state[key] for key in ("version", "instances") if key in state}
    return orjson.dumps(fields).decode()
