"""A client of the server's application in this process, with a model that needs no library."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from starlette.testclient import TestClient

from kfp_bert_components.serving import create_app
from tests.support.tiny_engine import TinyEngine


@contextlib.contextmanager
def tiny_client(folder: Path, *, pair: bool = False, **settings: Any) -> Iterator[TestClient]:
    """Answer with a `TinyEngine` until the block ends.

    Args:
        folder: An empty folder, for what the server takes for a model.
        pair: Whether the model takes two texts.
        settings: Of `create_app`.
    """

    def load(version: Any, *_: Any) -> TinyEngine:
        engine = TinyEngine(pair=pair)
        engine.version = version
        return engine

    (folder / "saved_model.pb").write_bytes(b"tiny")
    with (
        patch("kfp_bert_components.serving.manager.load_engine", load),
        TestClient(create_app(folder, **settings), raise_server_exceptions=False) as client,
    ):
        wait_until_ready(client)
        yield client


def wait_until_ready(client: TestClient) -> None:
    """Wait until the application has loaded its model."""
    for _ in range(400):
        if (reply := client.get("/healthz")).status_code == 200:
            return
        time.sleep(0.02)
    raise AssertionError(reply.json())
