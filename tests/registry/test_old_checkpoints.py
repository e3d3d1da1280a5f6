"""Checkpoints of training lie beside the registry; gc removes those that nobody goes on from."""

import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from kfp_bert_components.cli.registry import command
from kfp_bert_components.registry import Registry, checkpoints_beside
from kfp_bert_components.storage import open_store
from tests.support.stores import cloud, gcs, place, s3

__all__ = ["cloud", "gcs", "place", "s3"]
DATA, OLD, NEW = "0123456789abcdef", "a" * 16, "b" * 16  # names of folders, as training makes them


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
    store.write(f"{DATA}/{OLD}/0000-000000001.safetensors", b"weights")
    registry = Registry(f"{place}/registry")
    assert registry.gc().checkpoints == {}
    assert registry.gc(unfinished_hours=0, dry_run=True).checkpoints.keys() == {f"{DATA}/{OLD}"}
    assert store.list()
    assert registry.gc(unfinished_hours=0).checkpoints.keys() == {f"{DATA}/{OLD}"}
    assert not store.list()


def test_gc_leaves_what_is_no_checkpoint_of_ours(place):
    store = open_store(checkpoints_beside(f"{place}/registry"))
    others = [
        "bert-base-uncased/model.safetensors",
        "bert-base-uncased/config.json",
        "model.safetensors",
        f"{DATA}/{OLD}/model.safetensors",
        f"{DATA}/0000-000000001.safetensors",
        f"mine/{DATA}/{OLD}/0000-000000001.safetensors",
    ]
    for name in others:
        store.write(name, b"theirs")
    assert Registry(f"{place}/registry").gc(unfinished_hours=0).checkpoints == {}
    assert sorted(entry.name for entry in store.list()) == sorted(others)


@pytest.mark.parametrize("hours", [-48, 48])
def test_the_age_of_checkpoints_in_a_bucket_does_not_depend_on_the_clock_of_the_machine(cloud, monkeypatch, hours):
    store = open_store(checkpoints_beside(f"{cloud.root}/registry"))
    store.write(f"{DATA}/{OLD}/0000-000000001.safetensors", b"weights")
    registry, now = Registry(f"{cloud.root}/registry"), time.time
    registry.id()  # makes it
    monkeypatch.setattr(time, "time", lambda: now() + hours * 3600)
    assert registry.gc().checkpoints == {}
    assert [entry.name for entry in store.list()] == [f"{DATA}/{OLD}/0000-000000001.safetensors"]


def test_a_registry_that_is_a_whole_bucket_holds_its_checkpoints(cloud):
    registry = Registry(cloud.root)
    registry.id()
    store = open_store(checkpoints_beside(registry.uri))
    store.write(f"{DATA}/{OLD}/0000-000000001.safetensors", b"weights")
    assert registry.verify() == []
    store.write("model.safetensors", b"theirs")
    assert [problem.split(" ")[0] for problem in registry.verify()] == [f"{cloud.root}/checkpoints"]


def test_gc_names_what_is_old_and_leaves_what_is_new(tmp_path):
    registry = str(tmp_path / "registry")
    Registry(registry).id()  # makes it
    store = open_store(checkpoints_beside(registry))
    for owner in (OLD, NEW):
        store.write(f"{DATA}/{owner}/0000-000000001.safetensors", b"weights")
    then = time.time() - 30.4 * 3600
    os.utime(Path(store.uri) / DATA / OLD / "0000-000000001.safetensors", (then, then))
    result = CliRunner().invoke(command, ["gc", registry])
    assert result.output == f"removed  checkpoints {DATA}/{OLD}: nothing written for 30 hours\n"
    assert [entry.name for entry in store.list()] == [f"{DATA}/{NEW}/0000-000000001.safetensors"]
