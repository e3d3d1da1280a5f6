"""Reads what an answer has left unread of its request, so that the client can take the answer."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Unread:
    """An ASGI application around another one: an answer ends when the body of its request has come, and not before.

    A connection that is closed while its client still sends is reset, and what was sent to the client is lost to it
    (RFC 9112, section 9.6). How long a body may take is the connection's business; see `Limits.body_seconds`.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or start and end the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ended = False

        async def receive_part() -> Message:
            nonlocal ended
            message = await receive()
            ended = not message.get("more_body", False)
            return message

        async def send_part(message: Message) -> None:
            if ended or message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            await send({**message, "more_body": True})
            while not ended:
                await receive_part()
            await send({"type": "http.response.body"})

        await self._app(scope, receive_part, send_part)
