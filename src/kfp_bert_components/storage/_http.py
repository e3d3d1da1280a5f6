"""One connection to Cloud Storage that is asked for bodies of objects, one GET after the other.

The client library spends about a millisecond of CPU on a download, most of it in layers that a plain GET of
known bytes does not need; here it is a fraction of that. Listing and signing in stay with the library.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

TIMEOUT = 60.0  # seconds without a byte
_BLOCK = 1 << 18  # of a body: small enough to stay in the processor's cache until it is written
_HEAD = 1 << 16
_HEAD_LIMIT = 1 << 18


class TransientError(Exception):
    """The connection broke or the answer was no HTTP: worth another try."""


@dataclass
class Head:
    """The status and the headers of a reply, names in lower case."""

    status: int
    headers: dict[str, str]

    @property
    def length(self) -> int | None:
        """The length of the body where the reply says it."""
        value = self.headers.get("content-length", "")
        return int(value) if value.isdigit() else None


class Connection:
    """A kept-alive connection; send a request, then read its head and all of its body."""

    def __init__(self, url: str) -> None:
        self._socket = _connect(url)
        self._rest = b""
        self._buffer = memoryview(bytearray(_BLOCK))

    def send(self, request: bytes) -> None:
        """Send a whole request."""
        try:
            self._socket.sendall(request)
        except OSError as error:
            raise TransientError(f"the connection broke: {error}") from error

    def head(self) -> Head:
        """Read up to the end of the headers."""
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > _HEAD_LIMIT:
                raise TransientError("the server did not answer in HTTP")
            data += self._receive()
        self._rest = data[end + 4 :]
        lines = data[:end].decode("latin-1").split("\r\n")
        fields = lines[0].split(" ", 2)
        if not fields[0].startswith("HTTP/1.") or len(fields) < 2 or not fields[1].isdigit():
            raise TransientError("the server did not answer in HTTP")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return Head(int(fields[1]), headers)

    def body(self, head: Head) -> Iterator[bytes]:
        """The body in blocks; TransientError if it ends too early."""
        if head.headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunks()
            return
        left = head.length
        if left is None:
            raise TransientError("the server did not say how long the object is")
        while left:
            block = self._exactly(min(left, _BLOCK))
            left -= len(block)
            yield block

    def _exactly(self, size: int) -> bytes:
        """The next `size` bytes, which arrive in many small pieces where the connection is encrypted."""
        block = self._rest[:size] or self._receive(size)
        self._rest = self._rest[size:]
        filled = len(block)
        if filled == size:
            return block
        self._buffer[:filled] = block
        while filled < size:
            try:
                count = self._socket.recv_into(self._buffer[filled:size])
            except OSError as error:
                raise TransientError(f"the connection broke: {error}") from error
            if not count:
                raise TransientError("the connection was closed in the middle")
            filled += count
        return bytes(self._buffer[:size])

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._line().split(b";")[0] or b"0", 16):
            while size:
                block = self._rest or self._receive()
                self._rest, block = block[size:], block[:size]
                size -= len(block)
                yield block
            self._line()
        while self._line():
            pass

    def _line(self) -> bytes:
        while b"\r\n" not in self._rest:
            self._rest += self._receive()
        line, _, self._rest = self._rest.partition(b"\r\n")
        return line

    def _receive(self, most: int = _HEAD) -> bytes:
        try:
            block = self._socket.recv(most)
        except OSError as error:
            raise TransientError(f"the connection broke: {error}") from error
        if not block:
            raise TransientError("the connection was closed in the middle")
        return block

    def close(self) -> None:
        self._socket.close()


def _connect(url: str) -> socket.socket:
    """Open a connection, through the proxy that the environment names for this host if there is one."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    proxy = "" if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(parts.scheme, "")
    try:
        if proxy:
            through = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            opened = _open(parts.scheme, through.hostname or "", through.port or 8080)
            opened.set_tunnel(host, port or (443 if parts.scheme == "https" else 80))
        else:
            opened = _open(parts.scheme, host, port)
        opened.connect()
    except (OSError, http.client.HTTPException) as error:
        raise TransientError(f"no connection to {host}: {error}") from error
    return opened.sock


def _open(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=_trust())
    return http.client.HTTPConnection(host, port, timeout=TIMEOUT)


@lru_cache(maxsize=1)
def _trust() -> ssl.SSLContext:
    """The certificates that the client library trusts too."""
    import requests.certs

    return ssl.create_default_context(cafile=os.environ.get("REQUESTS_CA_BUNDLE") or requests.certs.where())
