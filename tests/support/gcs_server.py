"""A small Cloud Storage over HTTP: the JSON API that google-cloud-storage speaks, reading by the XML API that
obstore speaks, faults on request.

    with GcsServer() as server:
        server.put("bucket", "folder/name.csv", b"...")
        server.faults.add("503", match="name.csv", times=2)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)

Buckets spring into being with `put` or `create_bucket`. Objects are immutable generations; preconditions are checked
and applied under one lock, so exactly one of many writers with the same precondition wins. `server.requests` is the
list of (method, path with query) so far, `server.headers` has the headers of each, names in lower case;
`server.latency` seconds pass before each reply, and connections idle for `server.idle_seconds` are closed. With a TLS
context it is at https://localhost.

The assumptions about the real service are in `tests/support/gcs_objects.py` and beside each handler, from
https://cloud.google.com/storage/docs/json_api/v1/objects and https://cloud.google.com/storage/docs/xml-api.
`tests/fetch/test_cloud_storage.py` compares it with Google's storage-testbench.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import ssl
import struct
import threading
import time
import uuid
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.support.bodies import whole_body
from tests.support.gcs_faults import Fault, Faults
from tests.support.gcs_objects import ApiError, Buckets, Object, resource


class GcsServer:
    """Start and stop it, or use it as a context manager."""

    handler: type[BaseHTTPRequestHandler]  # set below, where it is defined
    scheme, root = "gs", "gs://bucket"
    listing = "^/storage/v1/b/bucket/o"  # what matches the requests that list a bucket, and no others

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.buckets = Buckets()
        self.faults = Faults()
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.authorizations: set[str] = set()
        self.latency = 0.0
        self.page_size = 1000
        self.idle_seconds: float | None = None
        self.uploads: dict[str, Upload] = {}
        self._http: ThreadingHTTPServer | None = None

    def start(self) -> GcsServer:
        owner = self

        handler = type("Bound", (self.handler,), {"server_": owner})

        class Http(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that went away is no news."""

        self._http = Http(("127.0.0.1", 0), handler)
        if self.tls:
            self._http.socket = self.tls.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        if self._http:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    __enter__ = start

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        assert self._http, "not started"
        return f"{'https://localhost' if self.tls else 'http://127.0.0.1'}:{self._http.server_address[1]}"

    def put(self, bucket: str, name: str, data: bytes, **metadata: str) -> int:
        """Write an object past the API; returns its generation."""
        return self.buckets.put(bucket, name, data, metadata=metadata).generation

    def get(self, bucket: str, name: str) -> bytes:
        return self.buckets.get(bucket, name).data

    def break_write(self, kind: str, name: str = "") -> Fault:
        """A fault at the next write of an object whose name holds `name`, which is in the body of an upload."""
        return self.faults.add(kind, method="POST", in_body=name.encode())

    def remove(self, bucket: str, name: str) -> None:
        """Delete an object past the API."""
        self.buckets.delete(bucket, name, {})

    def names(self, bucket: str) -> list[str]:
        return self.buckets.names(bucket)

    def create_bucket(self, bucket: str, **settings: object) -> None:
        """`requester_pays=True`, `forbidden={"storage.objects.get"}`, `versioning=True`."""
        self.buckets.create(bucket, **settings)

    def downloads(self, name: str = "") -> list[str]:
        """The paths of the downloads by the XML API so far whose address holds `name`."""
        apis = ("/storage/", "/download/", "/upload/")
        return [path for _, path in self.requests if not path.startswith(apis) and name in unquote(path)]


class Upload:
    """A resumable upload in progress."""

    def __init__(self, bucket: str, name: str, query: dict[str, str], metadata: dict) -> None:
        self.bucket, self.name, self.query, self.metadata = bucket, name, query, metadata
        self.data = bytearray()
        self.done: Object | None = None


class GoneError(Exception):
    """The connection was cut on purpose."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_: GcsServer
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def setup(self) -> None:
        self.timeout = self.server_.idle_seconds
        super().setup()

    def _serve(self) -> None:
        owner = self.server_
        parts = urlsplit(self.path)
        self.query = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        body = self._body()
        if body is None:
            self.close_connection = True
            return None
        owner.requests.append((self.command, self.path))
        owner.headers.append({key.lower(): value for key, value in self.headers.items()})
        if credentials := self.headers.get("Authorization"):
            owner.authorizations.add(credentials)
        if owner.latency:
            time.sleep(owner.latency)
        self.fault = owner.faults.take(self.command, unquote(self.path), body)
        try:
            if self.fault and self.fault.kind == "reset":
                self._cut()
            if self.fault and self.fault.kind == "slow":
                time.sleep(self.fault.seconds)
            if self.fault and self.fault.kind == "page":
                return self._send(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})
            if self.fault and self.fault.kind.isdigit():
                raise ApiError(int(self.fault.kind), "backendError", self.fault.body.decode() or "injected")
            self._route(parts.path, body)
        except ApiError as error:
            self._send_error(error)
        except GoneError:
            self.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = _serve  # noqa: N815

    def _body(self) -> bytes | None:
        """The body of a request; None where its client went before the end: a store takes no part of it."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            blocks = []
            while size := int(self.rfile.readline().split(b";")[0] or b"-1", 16):
                block = self.rfile.read(size) if size > 0 else b""
                if len(block) < size or size < 0:
                    return None
                blocks.append(block)
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(blocks)
        return whole_body(self)

    def _route(self, path: str, body: bytes) -> None:
        match = re.fullmatch(r"(/upload|/download)?/storage/v1/b(?:/([^/]+)(?:/o(?:/(.+))?)?)?", path)
        if not match and (xml := re.fullmatch(r"/([^/]+)/(.+)", path)):
            return self._xml(unquote(xml[1]), unquote(xml[2]))
        if not match:
            raise ApiError(404, "notFound", f"no such route: {path}")
        kind, bucket, name = match[1] or "", unquote(match[2] or ""), unquote(match[3] or "")
        if not bucket:
            asked = json.loads(body)
            self.server_.create_bucket(asked["name"], versioning=asked.get("versioning", {}).get("enabled", False))
            return self._json(200, asked)
        self.server_.buckets.check(bucket, self._permission(kind, path, name), self._user_project())
        if kind == "/upload":
            return self._upload(bucket, name, body)
        if not path.removeprefix(f"{kind}/storage/v1/b/").partition("/")[2]:
            return self._json(200, {"kind": "storage#bucket", "name": bucket, "location": "EU", "projectNumber": "1"})
        if not name:
            return self._json(200, self._listing(bucket))
        if "/rewriteTo/b/" in name:
            return self._rewrite(bucket, name)
        if self.command == "DELETE":
            self.server_.buckets.delete(bucket, name, self.query)
            self._lose_reply()
            return self._send(204, b"", {})
        found = self.server_.buckets.find(bucket, name, self.query)
        if self.query.get("alt") == "media" or kind == "/download":
            return self._media(found)
        return self._json(200, resource(found))

    def _xml(self, bucket: str, name: str) -> None:
        self.server_.buckets.check(bucket, "storage.objects.get", self._user_project())
        return self._media(self.server_.buckets.find(bucket, name, self.query))

    def _user_project(self) -> str | None:
        return self.query.get("userProject") or self.headers.get("x-goog-user-project")

    def _permission(self, kind: str, path: str, name: str) -> str:
        if kind == "/upload":
            return "storage.objects.create"
        if self.command == "DELETE":
            return "storage.objects.delete"
        if name:
            return "storage.objects.get"
        return "storage.objects.list" if path.endswith("/o") else "storage.buckets.get"

    def _listing(self, bucket: str) -> dict:
        size = min(int(self.query.get("maxResults", 1000)), self.server_.page_size)
        items, prefixes, token = self.server_.buckets.page(
            bucket,
            prefix=self.query.get("prefix", ""),
            delimiter=self.query.get("delimiter", ""),
            glob=self.query.get("matchGlob", ""),
            token=self.query.get("pageToken", ""),
            size=size,
        )
        page: dict = {
            "kind": "storage#objects",
            "items": [resource(one) for one in items],
            "prefixes": prefixes,
        }
        if self.fault and self.fault.kind == "no_size":
            for item in page["items"]:
                del item["size"]
        return {**page, "nextPageToken": token} if token else page

    def _media(self, found: Object) -> None:
        data, status, headers = found.data, 200, {"Last-Modified": formatdate(found.generation / 1e6, usegmt=True)}
        if found.content_encoding:
            headers["Content-Encoding"] = found.content_encoding
            if "gzip" not in self.headers.get("Accept-Encoding", ""):  # "decompressive transcoding"
                del headers["Content-Encoding"]
                return self._send_chunked(200, gzip.decompress(data), headers)
        total = len(data)
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start = int(wanted[1])
            end = min(int(wanted[2] or total - 1), total - 1)
            if start >= total:
                raise ApiError(416, "requestedRangeNotSatisfiable", "the range is beyond the object")
            data, status = data[start : end + 1], 206
            headers["Content-Range"] = f"bytes {start}-{end}/{total}"
        headers |= {
            "x-goog-generation": str(found.generation),
            "x-goog-metageneration": "1",
            "x-goog-stored-content-length": str(total),
            "ETag": f'"{found.generation}"',
            "x-goog-stored-content-encoding": found.content_encoding or "identity",
        }
        # The service sends the hashes of the whole object, with a range too.
        if not (self.fault and self.fault.kind in ("no_hash", "corrupt_no_hash", "swap_no_hash")):
            headers["x-goog-hash"] = f"crc32c={found.crc32c},md5={found.md5}"
        return self._send_body(status, data, headers)

    def _send_body(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        """The bytes of an object, or what the fault makes of them."""
        if self.fault and self.fault.kind in ("corrupt", "corrupt_no_hash") and data:
            data = bytes([data[0] ^ 1]) + data[1:]
        if self.fault and self.fault.kind in ("swap", "swap_no_hash"):
            filling = self.fault.body or b"swapped"
            data = (filling * (len(data) // len(filling) + 1))[: len(data)]
        if self.fault and self.fault.kind == "truncate":
            self._start(status, len(data), headers)
            self.wfile.write(data[: len(data) // 2 if self.fault.after is None else self.fault.after])
            self._cut()
        if self.fault and self.fault.kind == "short":  # shorter, and the length header agrees
            data = data[: len(data) // 2]
        if self.fault and self.fault.kind == "longer":
            data += self.fault.body or b"more"
        if self.fault and self.fault.kind in ("endless", "bad_chunk"):
            return self._send_endless(status, data, headers, bad=self.fault.kind == "bad_chunk")
        if self.fault and self.fault.kind == "long":
            return self._send_chunked(status, data + self.fault.body, headers)
        return self._send(status, data, headers)

    def _send_chunked(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for key, value in {**headers, "Transfer-Encoding": "chunked"}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if data else b"")
        self.wfile.write(b"0\r\n\r\n")

    def _send_endless(self, status: int, data: bytes, headers: dict[str, str], *, bad: bool) -> None:
        self.send_response_only(status)
        for key, value in {**headers, "Transfer-Encoding": "chunked"}.items():
            self.send_header(key, value)
        self.end_headers()
        block = data or b"x"
        for _ in range(1 if bad else 1 + (4 << 30) // len(block)):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
        self.wfile.write(b"ffffffffffffffffffff\r\n" if bad else b"0\r\n\r\n")
        self.close_connection = True

    def _upload(self, bucket: str, name: str, body: bytes) -> None:
        kind = self.query.get("uploadType")
        if "upload_id" in self.query:
            return self._resume(body)
        if kind == "media":
            return self._store(bucket, self.query.get("name", name), body, {})
        if kind == "multipart":
            boundary = re.search(r'boundary="?([^";]+)"?', self.headers["Content-Type"])
            assert boundary
            _, first, second, _ = body.split(b"--" + boundary[1].encode(), 3)
            metadata = json.loads(first.partition(b"\r\n\r\n")[2])
            return self._store(
                bucket,
                metadata.get("name") or self.query["name"],
                second.partition(b"\r\n\r\n")[2][:-2],
                metadata,
            )
        metadata = json.loads(body or b"{}")
        self.server_.buckets.check_precondition(bucket, metadata.get("name") or self.query["name"], self.query)
        key = uuid.uuid4().hex
        self.server_.uploads[key] = Upload(bucket, metadata.get("name") or self.query["name"], self.query, metadata)
        location = f"{self.server_.url}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={key}"
        return self._send(200, b"", {"Location": location, "X-GUploader-UploadID": key})

    def _resume(self, body: bytes) -> None:
        upload = self.server_.uploads.get(self.query["upload_id"])
        if not upload:
            raise ApiError(410, "gone", "no such upload")
        content = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", self.headers.get("Content-Range", ""))
        if not content:
            raise ApiError(400, "invalid", "no Content-Range")
        if content[1] is not None and int(content[1]) == len(upload.data):
            upload.data += body
        if content[3] != "*" and len(upload.data) >= int(content[3]):
            if upload.done is None:
                upload.done = self.server_.buckets.put(
                    upload.bucket, upload.name, bytes(upload.data), upload.query, upload.metadata
                )
            return self._stored(upload.done)
        headers = {"Range": f"bytes=0-{len(upload.data) - 1}"} if upload.data else {}
        return self._send(308, b"", headers)

    def _store(self, bucket: str, name: str, data: bytes, metadata: dict) -> None:
        self._stored(self.server_.buckets.put(bucket, name, data, self.query, metadata))

    def _stored(self, stored: Object) -> None:
        self._lose_reply()
        self._json(200, resource(stored))

    def _lose_reply(self) -> None:
        """After a write: make the fault that loses the answer to it, if there is one."""
        kind = self.fault.kind if self.fault else ""
        if kind == "lost_reply":
            self._cut()
        if kind.startswith("late_"):
            raise ApiError(int(kind.removeprefix("late_")), "backendError", "injected")

    def _rewrite(self, bucket: str, name: str) -> None:
        source, _, rest = name.partition("/rewriteTo/b/")
        to_bucket, _, to_name = rest.partition("/o/")
        found = self.server_.buckets.find(bucket, source, {})
        copy = self.server_.buckets.put(to_bucket, to_name, found.data, self.query)
        size = str(len(found.data))
        self._json(200, {"done": True, "totalBytesRewritten": size, "objectSize": size, "resource": resource(copy)})

    def _json(self, status: int, value: dict) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send_error(self, error: ApiError) -> None:
        if self.query.get("alt") == "media":  # errors of downloads are plain text
            return self._send(error.status, error.message.encode(), {"Content-Type": "text/plain"})
        if not re.match(r"(/upload|/download)?/storage/", self.path):
            code = "".join(word.capitalize() for word in re.split(r"\W+", error.message)[:3])
            body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{escape(error.message)}"
            return self._send(error.status, f"{body}</Message></Error>".encode(), {"Content-Type": "application/xml"})
        details = [{"message": error.message, "domain": "global", "reason": error.reason}]
        return self._json(error.status, {"error": {"code": error.status, "message": error.message, "errors": details}})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self._start(status, len(data), headers)
        self.wfile.write(data if self.command != "HEAD" else b"")
        self.wfile.flush()

    def _start(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _cut(self) -> None:
        """Close the connection in the middle, with a reset."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        raise GoneError


GcsServer.handler = Handler

__all__ = ["Fault", "Faults", "GcsServer"]
