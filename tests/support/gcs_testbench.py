"""Google's storage-testbench as a server for tests: https://github.com/googleapis/storage-testbench.

    STORAGE_TESTBENCH=folder python -m pytest tests/storage/test_cloud_storage.py

`folder` is a clone with an environment `.venv` of its own in it: its requirements don't go together with ours. The
server runs there, and this file is imported by it too; so it imports nothing outside the standard library.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterable
from email.utils import formatdate
from pathlib import Path
from typing import Any

_JSON_API = ("/storage/", "/upload/", "/download/", "/retry_test")


class Testbench:
    """Start it as a context manager; `url` is its address."""

    __test__ = False  # pytest takes it for a test otherwise

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def __enter__(self) -> Testbench:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [self._folder / ".venv" / "bin" / "gunicorn", f"--bind=127.0.0.1:{port}", "--worker-class=gthread"]
        command += ["--threads=16", "--log-level=error", f"--pythonpath={self._folder},{Path(__file__).parent}"]
        self._process = subprocess.Popen([*command, "gcs_testbench:app()"], cwd=self._folder)
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return self
            time.sleep(0.1)
        raise RuntimeError("the testbench did not start in 30 seconds")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def break_downloads(self, *instructions: str) -> None:
        """Let the next downloads fail, each by the next instruction; the testbench's README lists them."""
        asked = {"instructions": {"storage.objects.get": instructions}, "transport": "HTTP"}
        made = self._post("/retry_test", asked)
        self._post(f"/download_faults/{made['id']}", {})

    def break_every_download(self, instruction: str) -> None:
        """Let all downloads fail by one of the instructions that the testbench takes in a header; "" ends it."""
        self._post(f"/every_download/{instruction}", {})

    def _post(self, path: str, value: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(value).encode(), headers)
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read() or b"{}")


def app() -> Callable[..., Iterable[bytes]]:
    """The testbench, with what its answers to downloads by the XML API lack.

    The real service sends Last-Modified and ETag, and obstore needs them. The testbench makes faults for requests with
    a header that obstore can't be told to send for some requests only: it is added here.
    """
    os.environ.setdefault("GOOGLE_CLOUD_CPP_STORAGE_TEST_BUCKET_NAME", "bucket")
    import testbench

    inner = testbench.run()
    faults, instruction = "", ""

    def outer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        nonlocal faults, instruction
        path = environ["PATH_INFO"]
        if named := re.fullmatch(r"/download_faults/(\w+)", path):
            faults = named[1]
            start_response("200 OK", [("Content-Length", "0")])
            return []
        if named := re.fullmatch(r"/every_download/(.*)", path):
            instruction = named[1]
            start_response("200 OK", [("Content-Length", "0")])
            return []
        if instruction and "alt=media" in environ["QUERY_STRING"]:
            environ["HTTP_X_GOOG_EMULATOR_INSTRUCTIONS"] = instruction
        if path.startswith(_JSON_API):
            return inner(environ, start_response)
        if instruction:
            environ["HTTP_X_GOOG_EMULATOR_INSTRUCTIONS"] = instruction
        elif faults:
            environ["HTTP_X_RETRY_TEST_ID"] = faults

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            lower = {name.lower(): value for name, value in headers}
            added = {"Last-Modified": formatdate(usegmt=True), "ETag": f'"{lower.get("x-goog-generation", "")}"'}
            added = {name: value for name, value in added.items() if name.lower() not in lower}
            return start_response(status, [*headers, *added.items()], *rest)

        return inner(environ, start)

    return outer
