"""An S3 store over HTTP: moto's, with faults on request, as `GcsServer` is a Cloud Storage.

    with S3Server() as server:
        server.put("bucket", "folder/name.csv", b"...")
        server.faults.add("503", match="name.csv", times=2)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)

What AWS documents and moto does not do is done here, beside the line that does it. Requests are answered one at a time,
so that a condition and the write that depends on it are one step. moto has one set of buckets in a process: a server
that starts empties it.

As SeaweedFS does, this server names a folder in listings still after its last object was deleted.

`overlooks` holds the names of headers, in lower case, that this store does not see, as old ones do not see conditions.
"""

from __future__ import annotations

import io
import os
import re
import threading
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.support.gcs_faults import Fault
from tests.support.gcs_objects import ApiError
from tests.support.gcs_server import GcsServer, Handler

_ACCOUNT = "123456789012"
_CODES = {401: "InvalidToken", 403: "AccessDenied", 404: "NoSuchKey", 408: "RequestTimeout", 412: "PreconditionFailed"}
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


class S3Server(GcsServer):
    """Start and stop it, or use it as a context manager."""

    scheme, root = "s3", "s3://bucket"
    listing = r"^/bucket\?.*list-type"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        os.environ["S3_IGNORE_SUBDOMAIN_BUCKETNAME"] = "true"
        from moto.s3.models import get_canned_acl, s3_backends
        from moto.server import create_backend_app

        s3_backends.reset()
        self._backend = s3_backends[_ACCOUNT]["aws"]
        self.app = create_backend_app("s3")
        self.turn, self._public = threading.Lock(), get_canned_acl("public-read")
        self.overlooks: set[str] = set()
        self.forbidden: set[str] = set()
        self.deleted: set[str] = set()

    def put(self, bucket: str, name: str, data: bytes, **metadata: str) -> Any:
        self.create_bucket(bucket)
        found = self._backend.put_object(bucket, name, data)
        found.acl = self._public
        version = found.version_id
        etag = found.etag.strip('"')
        return f"{etag} {version}" if version and version != "null" else etag

    def get(self, bucket: str, name: str) -> bytes:
        return self._backend.get_object(bucket, name).value

    def break_write(self, kind: str, name: str = "") -> Fault:
        return self.faults.add(kind, method="PUT", match=name)

    def remove(self, bucket: str, name: str) -> None:
        self._backend.delete_object(bucket, name)

    def names(self, bucket: str) -> list[str]:
        return sorted(self._backend.get_bucket(bucket).keys)

    def create_bucket(self, bucket: str, **settings: Any) -> None:
        """`versioning=True`; `forbidden={"GET", "PUT", "DELETE", "LIST"}`."""
        if bucket not in self._backend.buckets:
            self._backend.create_bucket(bucket, "us-east-1")
        if settings.get("versioning"):
            self._backend.put_bucket_versioning(bucket, "Enabled")
        self.forbidden |= settings.get("forbidden", set())

    def downloads(self, name: str = "") -> list[str]:
        """The paths of the downloads so far whose address holds `name`."""
        objects = [path for method, path in self.requests if method == "GET" and re.match("/[^/]+/[^?]", path)]
        return [path for path in objects if name in unquote(path)]


class S3Handler(Handler):
    """One connection."""

    server_: S3Server

    def _route(self, path: str, body: bytes) -> None:
        kind = "LIST" if path.count("/") == 1 else "GET" if self.command == "HEAD" else self.command
        if kind in self.server_.forbidden:
            raise ApiError(403, "AccessDenied", "Access Denied")
        status, headers, data = self._answer(body, kind)
        if status == 404 and kind == "GET" and "LIST" in self.server_.forbidden:
            raise ApiError(403, "AccessDenied", "Access Denied")  # as AWS hides what is not there
        if self.command in ("PUT", "POST", "DELETE"):
            self._lose_reply()
        if kind == "DELETE":
            self.server_.deleted.add(unquote(urlsplit(self.path).path))
        if kind == "LIST":
            data = self._with_emptied_folders(data)
        if self.fault and self.fault.kind == "no_size" and kind == "LIST":
            data = re.sub(rb"<Size>\d+</Size>", b"", data)
        if self.command == "GET" and kind == "GET" and status in (200, 206):
            return self._send_body(status, data, headers)
        if self.command == "HEAD":
            self._start(status, int(headers.pop("Content-Length", 0)), headers)
            return None
        return self._send(status, data, headers)

    def _with_emptied_folders(self, data: bytes) -> bytes:
        """The answer to a request for folders, with those of deleted objects."""
        parts = urlsplit(self.path)
        asked = dict(parse_qsl(parts.query))
        start = f"{unquote(parts.path).rstrip('/')}/{asked.get('prefix', '')}"
        if asked.get("delimiter") != "/":
            return data
        rests = [name[len(start) :] for name in self.server_.deleted if name.startswith(start)]
        for name in {rest.partition("/")[0] for rest in rests if "/" in rest}:
            prefix = f"<Prefix>{escape(asked.get('prefix', '') + name)}/</Prefix>".encode()
            if prefix not in data:
                data = data.replace(
                    b"</ListBucketResult>", b"<CommonPrefixes>%b</CommonPrefixes></ListBucketResult>" % prefix
                )
        return data

    def _answer(self, body: bytes, kind: str) -> tuple[int, dict[str, str], bytes]:
        """moto's answer."""
        parts = urlsplit(self.path)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.command,
            "PATH_INFO": unquote(parts.path, "latin-1"),
            "RAW_URI": self.path,
            "REQUEST_URI": self.path,
            "QUERY_STRING": parts.query + (f"&max-keys={self.server_.page_size}" if kind == "LIST" else ""),
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": self.server_.url.rpartition(":")[2],
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.url_scheme": "http",
            "wsgi.version": (1, 0),
            "wsgi.multithread": True,
        }
        for name, value in self.headers.items():
            if name.lower() not in {*self.server_.overlooks, "content-length", "content-type"}:
                environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
        got: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> None:
            got[:] = [int(status.split(" ")[0]), headers]

        with self.server_.turn:
            found = self.server_.app(environ, start)
            try:
                data = b"".join(found)
            finally:
                getattr(found, "close", lambda: None)()
        headers = {key: value for key, value in got[1] if key.lower() not in ("connection", "transfer-encoding")}
        if self.command != "HEAD":
            headers = {key: value for key, value in headers.items() if key.lower() != "content-length"}
        return got[0], headers, data

    def _send_error(self, error: ApiError) -> None:
        code = _CODES.get(error.status, "InternalError")
        body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{escape(error.message)}"
        self._send(error.status, f"{body}</Message></Error>".encode(), {"Content-Type": "application/xml"})


S3Server.handler = S3Handler
