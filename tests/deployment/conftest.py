"""What several tests of rollouts start from."""

import pytest

from tests.support.ai_platform_server import AiPlatformServer
from tests.support.rollouts import World
from tests.support.stores import gcs

__all__ = ["gcs"]


@pytest.fixture
def world(gcs):
    """A registry whose first version is live on an endpoint, with a second one to deploy."""
    with AiPlatformServer() as server:
        world = World("gs://bucket/registry", server)
        world.promote()
        world.deploy()
        world.promote()
        server.calls.clear()
        yield world
