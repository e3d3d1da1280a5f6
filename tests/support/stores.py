"""Fixtures that several areas share: a running Cloud Storage, and one store of each kind."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from kfp_bert_components.storage import close_clients
from tests.support.gcs_server import GcsServer


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    """A server that google-cloud-storage talks to, with an empty bucket called "bucket"."""
    with GcsServer() as server:
        server.create_bucket("bucket")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server
        close_clients()


@pytest.fixture(params=["local", "gs"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of an empty folder, once local and once on gs://."""
    if request.param == "local":
        return str(tmp_path_factory.mktemp("store"))
    request.getfixturevalue("gcs")
    return f"gs://bucket/{uuid.uuid4().hex[:8]}"
