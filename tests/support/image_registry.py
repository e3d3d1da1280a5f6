"""A registry of images on loopback: manifests by name, behind a sign-in with a token where one is wanted."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class ImageRegistry:
    """Use it as a context manager; `host` is what image names begin with.

    Args:
        images: The images it has, without the host.
        login: user:password that it wants, "" for none. "*" for a token that everybody gets.

    Attributes:
        realm: Where it sends for a token.
    """

    def __init__(self, images: list[str], login: str = "") -> None:
        self.images, self.login = images, login
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.realm = f"http://{self.host}/token"

    def __enter__(self) -> ImageRegistry:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: ImageRegistry

    def do_GET(self) -> None:
        """The token, for a scope."""
        wanted = f"Basic {base64.b64encode(self.owner.login.encode()).decode()}"
        query = parse_qs(urlsplit(self.path).query)
        good = self.owner.login == "*" or self.headers.get("Authorization") == wanted
        if not good or query.get("service") != ["images"]:
            self._answer(401)
            return
        self._answer(200, json.dumps({"token": "t-" + query["scope"][0]}).encode())

    def do_HEAD(self) -> None:
        name, _, tag = self.path.removeprefix("/v2/").partition("/manifests/")
        scope = f"repository:{name}:pull"
        if self.owner.login and self.headers.get("Authorization") != f"Bearer t-{scope}":
            self.send_response(401)
            realm = f'Bearer realm="{self.owner.realm}",service="images",scope="{scope}"'
            self.send_header("WWW-Authenticate", realm)
            self.end_headers()
            return
        known = f"{name}:{tag}" in self.owner.images and "oci.image.index" in self.headers["Accept"]
        self._answer(200 if known else 404)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass
