"""What the protocols share: one model, its limits, and how a request is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from kfp_bert_components.serving.batching import Batcher
from kfp_bert_components.serving.engines import Answers, Engine, Instance
from kfp_bert_components.serving.limits import Limits
from kfp_bert_components.serving.manager import ModelManager

if TYPE_CHECKING:
    from starlette.requests import Request

LOADING = "The model is still loading: try again in a few seconds."


class JsonResponse(Response):
    """An answer as JSON; it takes arrays of numpy, too."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes of the body."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


class Service:
    """The model behind all protocols.

    Args:
        name: The name that requests give the model.
        models: What is loaded.
        batcher: What asks it.
        limits: How large a request may be.
    """

    def __init__(self, name: str, models: ModelManager, batcher: Batcher, limits: Limits) -> None:
        self.name, self.models, self.limits = name, models, limits
        self._batcher = batcher
        self._bodies = 0  # bytes in the bodies of the requests under way

    def engine(self, request: Request) -> Engine:
        """The model that the address of a request names. The request keeps it to its end, even when another takes over.

        Raises:
            HTTPException: 404 for another model or version; 503 while none is loaded.
        """
        name, version = request.path_params.get("name", self.name), request.path_params.get("version")
        if name != self.name:
            raise HTTPException(404, f"There is no model {name[:100]!r}: the only one is {self.name!r}.")
        engine = self.models.model
        if engine is None:
            raise HTTPException(503, self.models.problem or LOADING, {"Retry-After": "2"})
        if version is not None and version != str(engine.version.number):
            raise HTTPException(404, f"Version {version[:20]} is not loaded: version {engine.version.number} is.")
        request.state.version = engine.version.number
        return engine

    async def read(self, request: Request) -> bytes:
        """The body of a request.

        Raises:
            HTTPException: 413 where it is too large, 415 where it is compressed, 503 where the bodies of all requests
                are.
            ClientDisconnect: The client is gone.
        """
        if request.headers.get("content-encoding", "").lower() not in ("", "identity"):
            raise HTTPException(415, "The body is compressed: send it without Content-Encoding.")
        body, most = bytearray(), self.limits.body_bytes
        length = request.headers.get("content-length", "")
        too_large = HTTPException(413, f"The body is too large: send at most {most} bytes.", {"Connection": "close"})
        if length.isdigit() and (len(length) > 18 or int(length) > most):
            raise too_large
        try:
            async for chunk in request.stream():
                body += chunk
                self._bodies += len(chunk)
                if len(body) > most:
                    raise too_large
                if self._bodies > self.limits.bodies_bytes:
                    raise HTTPException(503, "The server holds too many large requests.", {"Retry-After": "1"})
        finally:
            self._bodies -= len(body)
        return bytes(body)

    async def answer(self, request: Request, engine: Engine, instances: Sequence[Instance]) -> Answers:
        """The model's answers. A client that hangs up is not answered, and its texts are not given to the model.

        Raises:
            BusyError: Too much is waiting.
            ClientDisconnect: The client is gone.
        """
        request.state.instances = len(instances)
        answers = self._batcher.submit(engine, instances)
        gone = asyncio.ensure_future(request.receive())  # after the body, only the end of the connection can come
        gone.add_done_callback(lambda _: answers.cancel())
        try:
            return await answers
        except asyncio.CancelledError:
            if gone.done() and not gone.cancelled():
                raise ClientDisconnect from None
            raise
        finally:
            gone.cancel()
