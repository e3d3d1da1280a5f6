"""The step that looks at the data: what it says, what it writes down, and what later steps make of it."""

import json
from pathlib import Path

import pytest

from kfp_bert_components.errors import ConflictError, UserError
from kfp_bert_components.fetch import fetch
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.finetune_bert import finetune_bert
from kfp_bert_components.steps.pin_data import pin_data
from kfp_bert_components.steps.reference import read_reference
from kfp_bert_components.training import TrainingSettings
from tests.support.files import folders_of_one_moment
from tests.support.gcs_server import GcsServer
from tests.support.models import candidate_for
from tests.support.stores import every_place as place
from tests.support.stores import gcs, s3

__all__ = ["gcs", "place", "s3"]


@pytest.fixture
def world(tmp_path: Path, place: str):
    """Runs of the step on a file and a base model that a test may change."""

    class World:
        registry = Registry(f"{place}/registry")
        data, base, page = tmp_path / "lines.csv", tmp_path / "base", tmp_path / "page.md"

        def look(self, run: str, base_model: str = ""):
            return pin_data([str(self.data)], self.registry.uri, self.page, base_model, run)

        def promote(self, name: str, pin: str) -> None:
            self.registry.promote(*candidate_for(self.registry, tmp_path, name), pin)

    World.data.write_text("first")
    World.base.mkdir()
    (World.base / "config.json").write_text("{}")
    return World()


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The last line that was printed."""
    return capsys.readouterr().out.splitlines()[-1]


def test_it_says_since_when_the_data_are_unchanged(world, capsys) -> None:
    first = world.look("run-1")
    assert first.changed and said(capsys) == "there is no champion yet."
    world.look("run-2")  # run-1 may have failed before it trained anything
    assert said(capsys) == "there is no champion yet (data first seen by run run-1)."
    world.promote("a", first.pin)
    again = world.look("run-2")
    sentence = "data unchanged since version 1 (data first seen by run run-1): steps whose settings have not changed "
    assert said(capsys) == f"{sentence}either can come from the cache."
    assert sentence in world.page.read_text()
    assert "lines.csv | 1 | 5 |\n" in world.page.read_text()
    assert not again.changed
    assert (again.manifest, again.pin) == (first.manifest, first.pin)
    world.data.write_text("other")
    assert world.look("run-3").changed
    assert said(capsys) == "data changed since version 1."
    assert world.look("run-4").changed
    assert said(capsys) == "data changed since version 1 (data first seen by run run-3)."


def test_a_base_model_that_changed_is_said_too(world, capsys) -> None:
    first = world.look("run-1", str(world.base))
    world.promote("a", first.pin)
    assert not world.look("run-2", str(world.base)).changed
    (world.base / "config.json").write_text("[]")
    again = world.look("run-3", str(world.base))
    assert again.changed and "the base model has changed since version 1" in said(capsys)
    assert again.manifest == first.manifest
    assert again.base_model_pin != first.base_model_pin


def test_a_base_model_behind_another_link_is_another_one(world, tmp_path: Path) -> None:
    _, other, now = folders_of_one_moment(tmp_path / "v1", tmp_path / "v2", name="config.json", now=tmp_path / "now")
    before = world.look("run-1", str(now)).base_model_pin
    now.unlink()
    now.symlink_to(other)
    assert world.look("run-2", str(now)).base_model_pin != before


def test_of_a_champion_without_a_pin_nothing_is_known(world, capsys) -> None:
    world.promote("a", "")
    assert world.look("run-1").changed
    assert said(capsys) == "what version 1 was trained on is not known."


def test_the_list_is_what_fetch_takes(world, tmp_path: Path) -> None:
    seen = world.look("run-1")
    assert fetch([str(world.data)], tmp_path / "data", manifest=seen.manifest).bytes == 5
    assert (tmp_path / "data" / "files" / "lines.csv").read_text() == "first"


def test_a_registry_with_nothing_but_lists_has_no_champion_yet(world) -> None:
    world.look("run-1")
    assert world.registry.champion() is None
    assert "has no champion yet" in read_reference(world.registry.uri)[1]
    assert world.registry.verify() == []


@pytest.mark.parametrize("below", ["data/registry", "data"])
def test_a_registry_in_the_data_is_refused(tmp_path: Path, place: str, below: str) -> None:
    Registry(f"{place}/data").store.write("lines.csv", b"first")
    with pytest.raises(UserError, match="would be data itself, because of the source"):
        pin_data([f"{place}/data"], f"{place}/{below}", tmp_path / "page.md")
    assert not Registry(f"{place}/{below}").store.list("pins/")


@pytest.mark.parametrize("source", ["data/*.csv", "data/lines.csv", "dat"])
def test_a_registry_beside_the_data_is_none_of_them(tmp_path: Path, place: str, source: str) -> None:
    for name in ("data/lines.csv", "dat/lines.csv"):
        Registry(place).store.write(name, b"first")
    for registry in ("data/registry", ""):
        first, again = (pin_data([f"{place}/{source}"], f"{place}/{registry}", tmp_path / "page.md") for _ in "12")
        assert first == again


def test_a_glob_that_means_the_registry_too_is_refused(tmp_path: Path, place: str) -> None:
    Registry(place).store.write("lines.json", b"first")
    pin_data([f"{place}/**.json"], f"{place}/registry", tmp_path / "page.md")  # nothing is there yet
    with pytest.raises(UserError, match="would be data itself"):
        pin_data([f"{place}/**.json"], f"{place}/registry", tmp_path / "page.md")


def test_a_registry_in_a_relative_folder_or_behind_a_link_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lines.csv").write_text("first")
    (tmp_path / "link").symlink_to("data")
    monkeypatch.chdir(tmp_path)
    for source, registry in (("link", "data/registry"), (".", "registry"), ("data", "link")):
        with pytest.raises(UserError, match="would be data itself"):
            pin_data([source], registry, tmp_path / "page.md")


def list_of(manifest: str) -> str:
    """The name of a list in the registry, by its address."""
    return f"pins/{manifest.rpartition('/')[2]}"


def test_the_same_bytes_at_two_places_have_a_list_each(world, gcs: GcsServer, tmp_path: Path) -> None:
    for folder in ("a/d", "b/d"):
        gcs.put("bucket", f"{folder}/lines.csv", b"first")
    one, other = (
        pin_data([f"gs://bucket/{folder}"], world.registry.uri, world.page, run=run)
        for folder, run in (("a/d", "run-1"), ("b/d", "run-2"))
    )
    assert one.fingerprint == other.fingerprint
    assert fetch(["gs://bucket/a/d"], tmp_path / "one", manifest=one.manifest).bytes == 5
    assert fetch(["gs://bucket/b/d"], tmp_path / "other", manifest=other.manifest).bytes == 5


@pytest.mark.parametrize("change", ["replaced", "deleted"])
def test_of_an_object_that_changed_since_one_thing_is_advised(world, gcs: GcsServer, tmp_path: Path, change) -> None:
    gcs.put("bucket", "in/lines.csv", b"first")
    pinned = pin_data(["gs://bucket/in"], world.registry.uri, world.page)
    if change == "replaced":
        gcs.put("bucket", "in/lines.csv", b"other")
    else:
        gcs.buckets.delete("bucket", "in/lines.csv", {})
    with pytest.raises(UserError, match=r"gs://bucket/in/lines.csv [^.:]*\. Start the run again\.$"):
        fetch(["gs://bucket/in"], tmp_path / "data", manifest=pinned.manifest)


def test_the_same_bytes_uploaded_anew_have_the_same_list_in_whatever_order(world, gcs: GcsServer) -> None:
    sources = ["gs://bucket/a/", "gs://bucket/b/"]
    gcs.put("bucket", "a/1.csv", b"first")
    gcs.put("bucket", "b/2.csv", b"first")
    before = pin_data(sources, world.registry.uri, world.page)
    gcs.put("bucket", "a/1.csv", b"first")
    assert pin_data(sources[::-1], world.registry.uri, world.page) == before


def test_gc_keeps_the_lists_of_versions_and_of_the_last_month(world) -> None:
    kept = world.look("run-1")
    world.promote("a", kept.pin)
    lists = {"kept": kept.manifest}
    for name in ("old", "new"):
        world.data.write_text(name)
        lists[name] = world.look("run-2").manifest
    for name in ("kept", "old"):
        file = list_of(lists[name])
        record = json.loads(world.registry.store.read(file).data) | {"at": "2026-01-01T00:00:00.000Z"}
        world.registry.store.write(file, json.dumps(record).encode())
    world.registry.gc(dry_run=True)
    assert len(world.registry.store.list("pins/")) == 3
    world.registry.gc()
    assert {one.name for one in world.registry.store.list("pins/")} == {
        list_of(lists[name]) for name in ("kept", "new")
    }


def test_a_damaged_list_is_named_and_mended_by_the_next_run(world) -> None:
    seen = world.look("run-1")
    name = list_of(seen.manifest)
    world.registry.store.write(name, b"{")
    assert [name in problem for problem in world.registry.verify()] == [True]
    assert world.look("run-2").manifest == seen.manifest
    assert world.registry.verify() == []


def test_a_base_model_in_a_bucket_is_seen_by_its_bytes(world, gcs: GcsServer) -> None:
    gcs.put("bucket", "base/config.json", b"{}")
    gcs.put("bucket", "base/optimizer.bin", b"not read")
    pin = world.look("run-1", "gs://bucket/base").base_model_pin
    gcs.put("bucket", "base/config.json", b"{}")
    gcs.put("bucket", "base/optimizer.bin", b"changed, and not read")
    assert world.look("run-1", "gs://bucket/base").base_model_pin == pin
    gcs.put("bucket", "base/config.json", b"[]")
    assert world.look("run-1", "gs://bucket/base").base_model_pin != pin


def test_what_can_not_be_a_base_model_is_refused_before_training(world) -> None:
    for base_model in (str(world.base / "none"), str(world.data)):
        with pytest.raises(UserError, match="is no folder: give a folder, a gs:// or s3:// path, or a hub id"):
            world.look("run-1", base_model)
    assert world.look("run-1", "google-bert/bert-base-uncased").base_model_pin == ""


def test_training_does_not_begin_from_a_base_model_that_changed_since(world, tmp_path: Path) -> None:
    pin = world.look("run-1", str(world.base)).base_model_pin
    (world.base / "config.json").write_text("[]")
    with pytest.raises(ConflictError, match="base' was changed since the run began: start the run again"):
        finetune_bert(
            tmp_path / "train",
            tmp_path / "validation",
            tmp_path / "model",
            tmp_path / "report.html",
            TrainingSettings(base_model=str(world.base)),
            base_model_pin=pin,
        )
