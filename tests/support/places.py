"""A registry with a champion, an endpoint beside it, and records as version 0.1.0 wrote them."""

import json

import pytest

from kfp_bert_components.registry import Registry
from tests.support.ai_platform_server import AiPlatformServer
from tests.support.rollouts import World

MODEL = "projects/p/locations/region-1/models/kfp-bert"


@pytest.fixture
def world(gcs):
    with AiPlatformServer() as server:
        world = World("gs://bucket/registry", server)
        world.promote()
        yield world


def downgrade(registry: Registry) -> None:
    """Make of the record what version 0.1.0 would have written."""
    name = "deployments/production.json"
    record = json.loads(registry.store.read(name).data)
    for field in ("place", "served", "live_served"):
        del record[field]
    details = record["details"]
    for facts in (details["facts"], details["live"].get("facts", {})):
        for field in ("served", "fingerprint", "holder", "place", "ours", "others"):
            facts.pop(field, None)
    del details["memory"], details["elsewhere"]
    registry.store.write(name, json.dumps({**record, "format": 1}).encode())


# The identity of a place
