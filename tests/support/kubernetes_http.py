"""HTTP of the fake Kubernetes API: requests in, answers and watches out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote

import yaml

from tests.support.bodies import whole_body
from tests.support.kubernetes_store import Object


@dataclass
class Request:
    """A request; `body` is what its JSON or YAML says."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    content_type: str
    agent: str


@dataclass
class Answer:
    """An answer: an object, a text, or the lines of a watch."""

    status: int
    body: Object | None = None
    headers: dict[str, str] | None = None
    text: str | None = None
    lines: Iterator[Object] | None = None


class Server(ThreadingHTTPServer):
    """A server that answers by a function, which gives None to break the connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Callable[[Request], Answer | None]) -> None:
        super().__init__(("127.0.0.1", 0), type("Handler", (_Handler,), {"answer": staticmethod(answer)}))

    def handle_error(self, *arguments: object) -> None:
        """A client that was killed leaves a broken connection, which is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    answer: Callable[[Request], Answer | None]
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # headers and body in one packet: else each answer waits 40 ms for an acknowledgement

    def _serve(self) -> None:
        data = whole_body(self)
        if data is None:
            return
        path, _, query = self.path.partition("?")
        body = _parse(data)
        content_type = (self.headers.get("Content-Type") or "").split(";")[0]
        agent = self.headers.get("User-Agent") or ""
        request = Request(self.command, unquote(path).rstrip("/"), _query(query), body, content_type, agent)
        answer = self.answer(request)
        self.close_connection = self.close_connection or answer is None
        try:
            if answer and answer.lines is not None:
                self._stream(answer.lines)
            elif answer:
                self._send(answer)
        except OSError:  # the client was killed
            self.close_connection = True

    def _send(self, answer: Answer) -> None:
        data = (answer.text if answer.text is not None else json.dumps(answer.body)).encode()
        self.send_response(answer.status)
        kind = "application/json" if answer.text is None else "text/plain"
        for name, value in {**(answer.headers or {}), "Content-Type": kind, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, lines: Iterator[Object]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        for line in lines:
            data = json.dumps(line).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass


def _query(text: str) -> dict[str, str]:
    return {name: value.lower() if value in ("True", "False") else value for name, value in parse_qsl(text)}


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data) if data.strip() else None
    except ValueError:  # an apply may come as YAML
        return yaml.safe_load(data)
