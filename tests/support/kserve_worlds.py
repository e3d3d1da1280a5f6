"""Fixtures: a cluster with KServe on which nothing is deployed, and one with a version that is live.

A test module gives the fixture `mode`: the name of a mode of KServe.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.gcs_server import GcsServer
from tests.support.kserve_rollouts import KServeWorld
from tests.support.kubernetes_server import KubernetesServer


@pytest.fixture
def empty(gcs: GcsServer, mode: str) -> Iterator[KServeWorld]:
    """A registry with one version, and a cluster on which nothing is deployed."""
    server = KubernetesServer(factor=200)
    world = KServeWorld("gs://bucket/registry", server, mode)
    with server:
        world.promote()
        yield world


@pytest.fixture
def world(empty: KServeWorld) -> KServeWorld:
    """The first version is live, and a second one is to be deployed."""
    empty.deploy()
    empty.promote()
    empty.server.calls.clear()
    return empty
