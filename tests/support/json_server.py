"""A server on loopback with JSON in and out, which fails where it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.bodies import whole_body


class RefusedError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(str(body))
        self.status, self.body = status, body


class JsonServer:
    """Use it as a context manager. What it serves is in `answer`.

    Attributes:
        url: Its address.
        calls: Every call so far, as (method, path).
        faults: What to do with calls, by their number from 1 on: a status to answer without effect; "hang"; "lost",
            which takes effect and is not answered; or a function, which is called before the call takes effect.
        token: The token that each call must have; "" for none.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.faults: dict[int, int | str | Callable[[], object]] = {}
        self.token = ""
        self.lock, self.closed = threading.RLock(), threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()

    def writes(self) -> list[tuple[str, str]]:
        """The calls that change something."""
        return [call for call in self.calls if call[0] != "GET"]

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Status and body of the answer to one call; or RefusedError."""
        raise NotImplementedError

    def respond(self, method: str, address: str, body: Any, token: str) -> tuple[int, Any] | None:
        """The same with faults; None for no answer at all."""
        parts = urlsplit(address)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        with self.lock:
            self.calls.append((method, parts.path))
            fault = self.faults.pop(len(self.calls), None)
        if fault == "hang":
            self.closed.wait(30)
            return None
        if isinstance(fault, int):
            return fault, {"code": "played", "message": f"played fault {fault}"}
        if callable(fault):
            fault()
        if self.token and token != f"Bearer {self.token}":
            return 401, "You are not authenticated."
        try:
            with self.lock:
                result = self.answer(method, parts.path, query, body)
        except RefusedError as error:
            return error.status, error.body
        return None if fault == "lost" else result


class _Handler(BaseHTTPRequestHandler):
    owner: JsonServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet: in two, each answer takes 40 ms

    def _handle(self) -> None:
        text = whole_body(self)
        if text is None:
            return
        body = json.loads(text) if text else ""
        answered = self.owner.respond(self.command, self.path, body, self.headers.get("Authorization", ""))
        if answered is None:
            self.close_connection = True
            return
        status, found = answered
        # A text is what no handler of the API has written, such as the 404 of a path that it does not have.
        data = found.encode() if isinstance(found, str) else json.dumps(found).encode()
        self.send_response(status)
        if data:
            self.send_header("Content-Type", "text/plain" if isinstance(found, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""
