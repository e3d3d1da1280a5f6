"""Requests for bodies of objects, with the credentials of the client library."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import quote, urlsplit

from google.auth.transport.requests import Request

from kfp_bert_components import __version__
from kfp_bert_components.storage._types import Access, Entry


class Signer:
    """Writes GET requests for one bucket and keeps the access token fresh."""

    def __init__(self, client: Any, url: str, bucket: str, access: Access) -> None:
        self._credentials = client._credentials
        self._transport = Request()
        self._lock = threading.Lock()
        self._pays = f"&userProject={quote(access.user_project, safe='')}" if access.user_project else ""
        self._start = f"{urlsplit(url).path.rstrip('/')}/download/storage/v1/b/{quote(bucket, safe='')}/o/"
        # gzip: objects stored compressed come as they are stored, which is what their checksum is of.
        self._end = (
            f" HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAccept-Encoding: gzip\r\n"
            f"User-Agent: kfp-bert-components/{__version__}\r\n"
        )
        self._url = url

    def request(self, name: str, entry: Entry, extra: str) -> bytes:
        """The bytes of a request.

        Args:
            name: The object's name, quoted.
            entry: Whose generation is wanted.
            extra: More header lines.
        """
        path = f"{self._start}{name}?alt=media&generation={entry.generation}{self._pays}"
        return f"GET {path}{self._end}{extra}{self._headers()}\r\n".encode()

    def renew(self, tries: int) -> bool:
        """Forget the token after a 401; whether another try makes sense."""
        if not hasattr(self._credentials, "expiry") or tries > 1:
            return False
        with self._lock:
            self._credentials.token = None
        return True

    def _headers(self) -> str:
        headers: dict[str, str] = {}
        with self._lock:
            self._credentials.before_request(self._transport, "GET", self._url, headers)
        return "".join(f"{key}: {value}\r\n" for key, value in headers.items())
