"""Checkpoints of training lie beside the registry; gc removes those that nobody goes on from."""

import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from kfp_bert_components.cli.registry import command
from kfp_bert_components.registry import Registry, checkpoints_beside
from kfp_bert_components.storage import open_store
from tests.support.stores import gcs, place, s3

__all__ = ["gcs", "place", "s3"]


@pytest.mark.parametrize(
    ("registry", "folder"),
    [
        ("gs://bucket/models/film", "gs://bucket/models/film-checkpoints"),
        ("gs://bucket/film/", "gs://bucket/film-checkpoints"),
        ("gs://bucket", "gs://bucket/checkpoints"),
        ("gs://bucket/", "gs://bucket/checkpoints"),
        ("/data/registry/", "/data/registry-checkpoints"),
    ],
)
def test_checkpoints_are_beside_the_registry_and_never_in_another_bucket(registry, folder):
    assert checkpoints_beside(registry) == folder


def test_gc_removes_checkpoints_when_nothing_was_written_for_long(place):
    store = open_store(checkpoints_beside(f"{place}/registry"))
    store.write("data/owner/0000-000000001.safetensors", b"weights")
    registry = Registry(f"{place}/registry")
    assert registry.gc().checkpoints == {}
    assert registry.gc(unfinished_hours=0, dry_run=True).checkpoints.keys() == {"data/owner"}
    assert store.list()
    assert registry.gc(unfinished_hours=0).checkpoints.keys() == {"data/owner"}
    assert not store.list()


def test_gc_names_what_is_old_and_leaves_what_is_new(tmp_path):
    registry = str(tmp_path / "registry")
    Registry(registry).id()  # makes it
    store = open_store(checkpoints_beside(registry))
    for owner in ("old", "new"):
        store.write(f"data/{owner}/0000-000000001.safetensors", b"weights")
    then = time.time() - 30.4 * 3600
    os.utime(Path(store.uri) / "data/old/0000-000000001.safetensors", (then, then))
    result = CliRunner().invoke(command, ["gc", registry])
    assert result.output == "removed  checkpoints data/old: nothing written for 30 hours\n"
    assert [entry.name for entry in store.list()] == ["data/new/0000-000000001.safetensors"]
