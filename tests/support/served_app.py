"""The server on a free port, in a thread of the test's process."""

from __future__ import annotations

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from kfp_bert_components.serving import create_app


@contextmanager
def served_app(path: Path, *, ready: bool = True, **settings: Any) -> Iterator[str]:
    """The address of the app on `path`, such as http://127.0.0.1:40001; with `ready` once its model answers."""
    app = create_app(path, **settings)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        while ready and not _answers(f"{address}/healthz"):
            time.sleep(0.05)
        yield address
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return False
