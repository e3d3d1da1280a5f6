"""A chat's webhook on this machine: it takes messages, or fails in the ways of a real one."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Webhook:
    """What a webhook got.

    Attributes:
        url: Its address.
        messages: The texts that were posted.
        answer: "ok", "error" (status 500), "redirect", "hang" (never), or "drip" (a byte now and then).
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.messages: list[str] = []
        self.answer = "ok"
        self.over = threading.Event()


@contextlib.contextmanager
def webhook() -> Iterator[Webhook]:
    """A webhook that runs until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert body.keys() == {"text"} and self.path == "/hooks/secret-token"
            found.messages.append(body["text"])
            if found.answer == "hang":
                found.over.wait(60)
                return
            if found.answer == "drip":
                self._drip()
                return
            status = {"ok": 200, "error": 500, "redirect": 302}[found.answer]
            self.send_response(status)
            self.send_header("Location", found.url)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _drip(self) -> None:
            with contextlib.suppress(OSError):
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
                while not found.over.wait(0.1):
                    self.wfile.write(b"x")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Webhook(f"http://127.0.0.1:{server.server_port}/hooks/secret-token")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
