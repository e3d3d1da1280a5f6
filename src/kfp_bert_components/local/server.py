"""The REST server in a process of its own, which ends with the block that started it."""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import UserError

_SECONDS_TO_START = 120


@contextlib.contextmanager
def running_server(path: Path, log: Path, port: int = 8501) -> Iterator[str]:
    """Serve the model in `path` on 127.0.0.1 until the block ends.

    Args:
        path: A model bundle, a SavedModel or a folder of versions.
        log: File for what the server prints.
        port: Port to listen on; another one is taken if it is in use.

    Yields:
        The server's address, such as "http://127.0.0.1:8501", when it is ready.

    Raises:
        UserError: The server ended, or did not answer within 120 s.
    """
    port = _free_port(port)
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "kfp_bert_components.cli", "serve", str(path), "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(process, url, log)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def predict(url: str, texts: list[str]) -> list[dict[str, Any]]:
    """The server's answer for each text: {"label": ..., "score": ..., "probabilities": [...]}."""
    body = json.dumps({"instances": texts}).encode()
    request = urllib.request.Request(
        f"{url}/v1/models/bert:predict", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["predictions"]


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return probe.getsockname()[1]
    raise UserError(f"Port {wanted} of 127.0.0.1 is in use and no other is free: end a program that listens.")


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise UserError(f"The server ended with code {process.returncode}: its log {log} says why.")
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise UserError(f"The server did not answer within {_SECONDS_TO_START} s: its log {log} may say why.")
