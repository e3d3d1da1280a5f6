"""Versions in a bucket are downloaded when they are to be loaded, and not to see that nothing has changed."""

import shutil
from types import SimpleNamespace

import pytest

from kfp_bert_components.serving import manager
from kfp_bert_components.serving.manager import ModelManager
from tests.support.stores import cloud, gcs, s3
from tests.support.tiny_engine import load_graph

__all__ = ["cloud", "gcs", "s3"]


@pytest.fixture
def clock(monkeypatch):
    """The manager's time, which passes only by `clock.now`."""
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("kfp_bert_components.serving.manager.time", clock)
    return clock


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """The temporary folder. A version whose graph there is b"bad" can't be loaded."""
    monkeypatch.setattr(manager, "load_engine", load_graph)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def put(cloud, number, graph=b"good"):
    cloud.put("bucket", f"serving/{number}/variables/variables.index", b"index")
    cloud.put("bucket", f"serving/{number}/saved_model.pb", graph)


def managed(cloud):
    models = ModelManager(f"{cloud.root}/serving", report=lambda line: None)
    models.refresh()
    return models


def copies(scratch):
    """The numbers of the versions of which there is a copy, or part of one."""
    return sorted(path.parent.name.partition("-")[0] for path in scratch.rglob("saved_model.pb"))


def looks(models, clock, cloud, seconds):
    """After how many seconds something was downloaded, by a look every ten seconds."""
    start, found = clock.now, []
    while clock.now < start + seconds:
        clock.now += 10
        before = len(cloud.downloads("serving/"))
        models.refresh()
        if len(cloud.downloads("serving/")) > before:
            found.append(clock.now - start)
    return found


@pytest.mark.parametrize("bad", [1, 4])
def test_versions_that_cannot_be_loaded_are_downloaded_again_only_when_they_are_tried_again(cloud, clock, scratch, bad):
    put(cloud, 1)
    for number in range(2, 2 + bad):
        put(cloud, number, b"bad")
    models = managed(cloud)
    served = models.model
    downloaded = looks(models, clock, cloud, 1000)
    # Three copies are kept.
    assert downloaded == ([] if bad == 1 else [10, 30, 70, 150, 310, 610, 910])
    assert {number: one.tries for number, one in models.refused.items()} == dict.fromkeys(range(2, 2 + bad), 8)
    assert models.model is served and models.swaps == 1
    assert len(copies(scratch)) <= 3


def test_a_version_with_an_object_that_cannot_be_read_is_downloaded_again_only_when_it_is_tried_again(
    cloud, clock, scratch
):
    put(cloud, 1)
    models = managed(cloud)
    put(cloud, 2)
    cloud.faults.add("403", match="variables.index", method="GET", times=None)
    assert looks(models, clock, cloud, 400) == [10, 20, 40, 80, 160, 320]
    assert models.model.version.number == 1 and "variables.index is forbidden" in models.problem
    assert copies(scratch) == ["1"]
    cloud.faults.clear()
    put(cloud, 2, b"well")
    models.refresh()
    assert (models.model.version.number, models.problem) == (2, "")


def test_a_version_in_a_bucket_that_was_mended_is_loaded_at_once(cloud, clock):
    put(cloud, 1)
    put(cloud, 2, b"bad")
    models = managed(cloud)
    put(cloud, 2, b"well")
    models.refresh()
    assert (models.model.version.number, models.problem, models.refused) == (2, "", {})


def test_a_version_in_a_bucket_that_needs_no_record_any_more_is_loaded_at_once(cloud, clock):
    put(cloud, 2)
    cloud.put("bucket", "serving/.kfp-bert-owner.json", b"{}")
    models = managed(cloud)
    assert "Version 2 has no assets.extra/bundle.json" in models.problem
    cloud.remove("bucket", "serving/.kfp-bert-owner.json")
    models.refresh()
    assert (models.model.version.number, models.problem) == (2, "")


def clean(scratch, what):
    """Remove the temporary copies, as the system may do with old ones."""
    for path in list(scratch.iterdir()):
        if what == "folder":
            shutil.rmtree(path)
    for path in list(scratch.rglob("variables.index" if what == "some files" else "*")):
        if path.is_file():
            path.unlink()


@pytest.mark.parametrize("what", ["some files", "all files", "folder"])
def test_copies_that_were_cleaned_away_harm_no_version(cloud, clock, scratch, what):
    put(cloud, 1)
    put(cloud, 2, b"bad")
    models = managed(cloud)
    served = models.model
    clean(scratch, what)
    models.refresh()
    assert models.model is served and models.problem == "version 2 cannot be served: its graph is bad"
    clock.now += 10  # version 2 is tried again
    models.refresh()
    assert models.model is served and models.refused[2].tries == 2
    assert models.problem == "version 2 cannot be served: its graph is bad"
    put(cloud, 3)
    models.refresh()
    assert (models.model.version.number, models.problem) == (3, "")
    clean(scratch, what)
    for number in (2, 3):
        for name in ("saved_model.pb", "variables/variables.index"):
            cloud.remove("bucket", f"serving/{number}/{name}")
    models.refresh()
    assert (models.model.version.number, models.problem) == (1, "")
    files = [path.name for path in models.model.version.folder.rglob("*") if path.is_file()]
    assert sorted(files) == ["saved_model.pb", "variables.index"]


def test_the_folder_of_the_copies_can_be_read_by_its_owner_only_also_when_it_was_made_again(cloud, clock, scratch):
    put(cloud, 1)
    models = managed(cloud)
    clean(scratch, "folder")
    put(cloud, 2)
    models.refresh()
    (folder,) = scratch.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
