"""Fixtures that several areas share: running stores, and one place in each kind of store."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from itertools import count

import pytest

from kfp_bert_components.storage import close_clients
from tests.support.gcs_server import GcsServer
from tests.support.s3_server import KEYS, S3Server

STORES = os.environ.get("KFP_BERT_STORES", "")


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    """A server that google-cloud-storage talks to, with an empty bucket called "bucket"."""
    with GcsServer() as server:
        server.create_bucket("bucket")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server
        close_clients()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """An S3 store that the environment names, with an empty bucket called "bucket"."""
    with S3Server() as server:
        server.create_bucket("bucket")
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": server.url}.items():
            monkeypatch.setenv(name, value)
        yield server
        close_clients()


@pytest.fixture(params=["gs", "s3"])
def cloud(request: pytest.FixtureRequest) -> GcsServer:
    """A server with an empty bucket called "bucket", once of each kind; `cloud.scheme` says which."""
    return request.getfixturevalue("gcs" if request.param == "gs" else "s3")


@pytest.fixture(params=["local", "gs", *(["s3"] if STORES == "all" else [])])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of an empty folder: a local one, one on gs://, and with KFP_BERT_STORES=all one on s3://."""
    return _empty(request, tmp_path_factory)


@pytest.fixture(params=["local", "gs", "s3", pytest.param("seaweedfs", marks=pytest.mark.peers)])
def every_place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same, always of every kind, with `-m peers` in SeaweedFS: import it as `place`."""
    return _empty(request, tmp_path_factory)


def steps(place: str) -> Iterator[int]:
    """The calls after which a test kills: all; in buckets some of them, unless KFP_BERT_STORES=all."""
    return count(1, 1 if STORES == "all" else {"gs": 3, "s3": 7}.get(place.split(":")[0], 1))


def _empty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "local":
        return str(tmp_path_factory.mktemp("store"))
    if request.param == "seaweedfs":
        monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": request.getfixturevalue("seaweedfs")}.items():
            monkeypatch.setenv(name, value)
    else:
        request.getfixturevalue("gcs" if request.param == "gs" else "s3")
    return f"{'gs' if request.param == 'gs' else 's3'}://bucket/{uuid.uuid4().hex[:8]}"
