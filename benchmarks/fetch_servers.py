"""Two servers for the benchmark of fetch: nginx for speed, and one that answers each request 25 ms later.

Both speak as much of Cloud Storage's JSON and XML APIs as reading needs, and nginx of S3's; the answers lie ready as
files or bytes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import time
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit
from xml.sax.saxutils import escape

import google_crc32c

BUCKET = "bench"
PAGE = 1000

_NGINX = """
daemon off; pid {root}/nginx.pid; error_log {root}/error.log; worker_processes {workers};
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000;
  open_file_cache max=10000 inactive=60s; types {{ }} default_type application/octet-stream;
  client_body_temp_path {root}/tmp; proxy_temp_path {root}/tmp; fastcgi_temp_path {root}/tmp;
  uwsgi_temp_path {root}/tmp; scgi_temp_path {root}/tmp;
  map $arg_prefix $folder {{ default none; ~^small small; ~^large large; ~^medium medium; }}
  map $arg_alt $kind {{ default meta; media data; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location = /storage/v1/b/{bucket} {{ default_type application/json; alias {root}/bucket.json; }}
    location = /storage/v1/b/{bucket}/o {{
      default_type application/json; rewrite .* /list/$folder-$arg_pageToken.json last;
    }}
    location /list/ {{ internal; default_type application/json; alias {root}/list/; }}
    location ~ ^/storage/v1/b/{bucket}/o/(?<name>.+)$ {{
      default_type application/json; rewrite .* /$kind/$name last;
    }}
    location ~ ^/download/storage/v1/b/{bucket}/o/(?<name>.+)$ {{ rewrite .* /data/$name last; }}
    location /meta/ {{ internal; default_type application/json; alias {root}/meta/; }}
    location /data/ {{ internal; alias {root}/data/; }}
    location = /{bucket} {{ default_type application/xml; rewrite .* /xml/$folder.xml last; }}
    location /xml/ {{ internal; default_type application/xml; alias {root}/xml/; }}
    location /{bucket}/ {{ alias {root}/data/; }}
  }}
}}
"""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def make_bucket(root: Path, folders: dict[str, tuple[int, int]], port: int) -> None:
    """Write objects and the answers about them; `folders` gives number and size of each folder's."""
    for folder in ("data", "meta", "list", "xml", "tmp"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "bucket.json").write_text(json.dumps({"kind": "storage#bucket", "name": BUCKET, "location": "EU"}))
    for folder, (count, size) in folders.items():
        (root / "data" / folder).mkdir()
        (root / "meta" / folder).mkdir()
        resources = []
        for number in range(count):
            name = f"{folder}/{number:05}.bin"
            data = os.urandom(size)
            (root / "data" / name).write_bytes(data)
            resources.append(_resource(name, data, port, _etag(root / "data" / name)))
            (root / "meta" / name).write_text(json.dumps(resources[-1]))
        for page in range(0, max(count, 1), PAGE):
            value: dict = {"kind": "storage#objects", "items": resources[page : page + PAGE]}
            if page + PAGE < count:
                value["nextPageToken"] = f"p{page + PAGE}"
            (root / "list" / f"{folder}-{f'p{page}' if page else ''}.json").write_text(json.dumps(value))
        (root / "xml" / f"{folder}.xml").write_text(_xml(folder, resources))


def _etag(path: Path) -> str:
    """The ETag that nginx gives for a file."""
    status = path.stat()
    return f"{int(status.st_mtime):x}-{status.st_size:x}"


def _resource(name: str, data: bytes, port: int, etag: str) -> dict:
    quoted = quote(name, safe="")
    crc = base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
    return {
        "kind": "storage#object",
        "id": f"{BUCKET}/{name}/1",
        "name": name,
        "bucket": BUCKET,
        "generation": "1",
        "metageneration": "1",
        "contentType": "application/octet-stream",
        "storageClass": "STANDARD",
        "size": str(len(data)),
        "crc32c": crc,
        "etag": etag,
        "timeCreated": "2026-01-01T00:00:00.000Z",
        "updated": "2026-01-01T00:00:00.000Z",
        "mediaLink": f"http://127.0.0.1:{port}/download/storage/v1/b/{BUCKET}/o/{quoted}?alt=media",
    }


def _xml(folder: str, resources: list[dict]) -> str:
    contents = "".join(
        f"<Contents><Key>{escape(one['name'])}</Key><Size>{one['size']}</Size><ETag>&quot;{one['etag']}&quot;</ETag>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        for one in resources
    )
    return (
        f'<?xml version="1.0"?><ListBucketResult><Name>{BUCKET}</Name><Prefix>{folder}/</Prefix>'
        f"<IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
    )


class Nginx:
    """nginx on a bucket's files, as a context manager that gives its URL."""

    def __init__(self, root: Path, port: int, workers: int = 2) -> None:
        self._root, self._port, self._workers = root, port, workers

    def __enter__(self) -> str:
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        port = self._port
        config = self._root / "nginx.conf"
        config.write_text(_NGINX.format(root=self._root, port=port, bucket=BUCKET, workers=self._workers))
        self._process = subprocess.Popen([program, "-p", str(self._root), "-c", str(config)])
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return f"http://127.0.0.1:{port}"
            time.sleep(0.05)
        raise RuntimeError("nginx did not start")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


class SlowServer:
    """A server in a process of its own whose every answer takes `latency` seconds."""

    def __init__(self, root: Path, latency: float) -> None:
        self._root, self._latency = root, latency

    def __enter__(self) -> str:
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve_slowly, args=(self._root, self._latency, theirs), daemon=True)
        self._process.start()
        return f"http://127.0.0.1:{ours.recv()}"

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()


def _serve_slowly(root: Path, latency: float, ready: Connection) -> None:
    answers: dict[str, bytes] = {}

    def reply(data: bytes, kind: str) -> bytes:
        return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n{stamp}\r\n".encode() + data

    stamp = "ETag: 1\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    for path in (root / "data").rglob("*.bin"):
        name = path.relative_to(root / "data").as_posix()
        body = reply(path.read_bytes(), "application/octet-stream")
        answers[f"/download/storage/v1/b/{BUCKET}/o/{name}"] = answers[f"/{BUCKET}/{name}"] = body
        answers[f"/storage/v1/b/{BUCKET}/o/{name}"] = reply((root / "meta" / name).read_bytes(), "application/json")
    answers[f"/storage/v1/b/{BUCKET}/o"] = reply((root / "list" / "medium-.json").read_bytes(), "application/json")
    answers[f"/storage/v1/b/{BUCKET}"] = reply((root / "bucket.json").read_bytes(), "application/json")
    answers[f"/{BUCKET}"] = reply((root / "xml" / "medium.xml").read_bytes(), "application/xml")
    missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

    class Answer(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport, self.rest = transport, b""

        def data_received(self, data: bytes) -> None:
            self.rest += data
            while b"\r\n\r\n" in self.rest:
                head, _, self.rest = self.rest.partition(b"\r\n\r\n")
                path = unquote(urlsplit(head.split(b" ", 2)[1].decode()).path)
                loop.call_later(latency, self.transport.write, answers.get(path, missing))  # type: ignore[attr-defined]

    async def run() -> None:
        server = await loop.create_server(Answer, "127.0.0.1", 0, backlog=1024)
        ready.send(server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(run())
