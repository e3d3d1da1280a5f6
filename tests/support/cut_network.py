"""A network between a client and a server on this machine, which can be cut."""

from __future__ import annotations

import socket
import threading
from typing import Any
from urllib.parse import urlsplit


class Network:
    """Forwards connections to a server. Use it as a context manager; `url` is its address.

    Args:
        url: Address of the server.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._whole = threading.Event()
        self._whole.set()
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Network:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._listener.close()
        for one in self._open:
            one.close()
        self._whole.set()  # what was held back finds its connection closed

    def cut(self) -> None:
        """From now on nothing arrives any more, in either direction, and nobody is told."""
        self._whole.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                self._open.append(client)
                server = socket.create_connection(self._server)
                self._open.append(server)
            except OSError:  # one of the two has ended
                return
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    def _copy(self, one: Any, other: Any) -> None:
        try:
            while data := one.recv(1 << 16):
                self._whole.wait()
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            other.close()
