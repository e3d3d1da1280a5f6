"""The server in a process of its own, with a model that needs no library: it starts in half a second."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.tiny_engine import TinyEngine

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Running:
    """A server that runs; `lines` and `errors` are what it has printed since, once it has ended."""

    url: str
    port: int
    process: subprocess.Popen[str]
    lines: list[str]
    errors: str = ""


@contextlib.contextmanager
def tiny_server(
    folder: Path, *, seconds: float = 0.0, files: int = 0, environment: dict[str, str] | None = None, **settings: Any
) -> Iterator[Running]:
    """Serve a `TinyEngine` until the block ends; it must end by SIGTERM, with code 0.

    Args:
        folder: An empty folder, for what the server takes for a model.
        seconds: How long the model takes for a token.
        files: How many files the server may open; 0: as many as this process.
        environment: Further environment variables.
        settings: Of `serve`; `limits` as a dict.
    """
    (folder / "saved_model.pb").write_bytes(b"tiny")
    command = [sys.executable, "-m", "tests.support.tiny_server", str(folder)]
    settings |= {"seconds": seconds, "files": files}
    variables = {**os.environ, **(environment or {})}
    with subprocess.Popen(
        [*command, json.dumps(settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=variables,
    ) as process:
        assert process.stdout
        try:
            ready = next(line for line in iter(process.stdout.readline, "") if line.startswith("ready at "))
            url = ready.split()[-1].split("/v1/")[0]
            running = Running(url, int(url.rpartition(":")[2]), process, [])
            yield running
            process.send_signal(signal.SIGTERM)
            output, running.errors = process.communicate(timeout=30)
            running.lines += output.splitlines()
            assert process.returncode == 0, running.errors
        finally:
            process.kill()


def _serve(folder: str, seconds: float, files: int, limits: dict[str, Any] | None = None, **settings: Any) -> None:
    import resource
    from unittest.mock import patch

    from kfp_bert_components.serving import Limits, serve

    def load(version: Any, *_: Any) -> TinyEngine:
        engine = TinyEngine(seconds)
        engine.version = version
        return engine

    if files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with patch("kfp_bert_components.serving.manager.load_engine", load):
        serve(folder, limits=Limits(**limits or {}), **{"port": 0, **settings})


if __name__ == "__main__":
    _serve(sys.argv[1], **json.loads(sys.argv[2]))
