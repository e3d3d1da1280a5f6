"""A version that cannot be loaded is told, tried again, and never stands in the way of one that can."""

import errno
import shutil
import threading
import time
from pathlib import Path

import pytest

from kfp_bert_components.serving import manager
from kfp_bert_components.serving.manager import ModelManager
from tests.support.tiny_engine import TinyEngine, load_graph


@pytest.fixture
def loads(monkeypatch):
    """What was loaded; a version whose graph is b"bad" can't be."""
    loaded = []

    def load(version, threads):
        loaded.append(version.number)
        return load_graph(version, threads)

    monkeypatch.setattr(manager, "load_engine", load)
    return loaded


def write(folder, number, graph=b"good"):
    (folder / str(number)).mkdir(exist_ok=True)
    (folder / str(number) / "saved_model.pb").write_bytes(graph)


def managed(folder, **settings):
    models = ModelManager(folder, report=lambda line: None, **settings)
    models.refresh()
    return models


def test_an_older_version_is_served_while_the_newest_cannot_be(tmp_path, loads):
    write(tmp_path, 1)
    write(tmp_path, 2, b"bad")
    models = managed(tmp_path)
    assert models.model.version.number == 1
    assert models.problem == "version 2 cannot be served: its graph is bad"
    assert [(one.number, one.reason, one.tries) for one in models.refused.values()] == [(2, "its graph is bad", 1)]


def test_a_version_that_failed_is_tried_again_after_twice_the_time(tmp_path, loads, monkeypatch):
    write(tmp_path, 1, b"bad")
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    models, tried = managed(tmp_path, poll_seconds=2), []
    for _ in range(600):
        now[0] += 1
        before = len(loads)
        models.refresh()
        if len(loads) > before:
            tried.append(now[0] - 100)
    assert tried == [2, 6, 14, 30, 62, 126, 254, 510]
    assert models.refused[1].tries == 9


def test_a_version_that_failed_is_tried_at_once_when_its_files_change(tmp_path, loads):
    write(tmp_path, 1, b"bad")
    models = managed(tmp_path, poll_seconds=1000)
    models.refresh()
    assert loads == [1]
    write(tmp_path, 1, b"well")
    models.refresh()
    assert models.model.version.number == 1
    assert (models.problem, models.refused) == ("", {})


def test_other_weights_under_an_unchanged_graph_are_loaded(tmp_path, loads):
    write(tmp_path, 1)
    (tmp_path / "1" / "variables").mkdir()
    weights = tmp_path / "1" / "variables" / "variables.data-00000-of-00001"
    weights.write_bytes(b"old")
    models = managed(tmp_path)
    models.refresh()
    assert loads == [1]
    weights.write_bytes(b"new")
    models.refresh()
    assert loads == [1, 1]


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESTALE, errno.EIO])
@pytest.mark.parametrize("where", ["folder", "version"])
def test_no_error_of_the_system_ends_the_watching(tmp_path, loads, monkeypatch, number, where):
    write(tmp_path, 1)
    before = set(threading.enumerate())
    models = ModelManager(tmp_path, poll_seconds=0.01, report=lambda line: None)
    models.start()
    wait_for(lambda: models.model is not None)
    at_fault = tmp_path if where == "folder" else tmp_path / "1" / "saved_model.pb"
    for name in ("iterdir", "stat", "is_file", "rglob"):
        real = getattr(Path, name)

        def failing(path, *args, real=real, **options):
            if path == at_fault:
                raise OSError(number, "no luck", str(path))
            return real(path, *args, **options)

        monkeypatch.setattr(Path, name, failing)
    wait_for(lambda: "no luck" in models.problem)
    assert models.model.version.number == 1
    monkeypatch.undo()
    loads.clear()
    monkeypatch.setattr(manager, "load_engine", lambda version, threads: with_version(version))
    write(tmp_path, 2)
    wait_for(lambda: models.model.version.number == 2)
    wait_for(lambda: models.problem == "")
    models.stop()
    assert "model-watcher" not in {thread.name for thread in set(threading.enumerate()) - before}


def with_version(version):
    engine = TinyEngine()
    engine.version = version
    return engine


def test_a_fault_of_the_version_that_answers_does_not_bring_an_older_one_back(tmp_path, loads, monkeypatch):
    write(tmp_path, 1)
    write(tmp_path, 2)
    models = managed(tmp_path)
    write(tmp_path, 2, b"bad")
    models.refresh()
    assert models.model.version.number == 2
    assert "its graph is bad" in models.problem


def test_a_folder_that_was_emptied_is_told_and_what_is_loaded_goes_on(tmp_path, loads):
    write(tmp_path, 1)
    models = managed(tmp_path)
    shutil.rmtree(tmp_path / "1")
    models.refresh()
    assert models.problem == f"{tmp_path} has no complete version any more: what is loaded goes on."
    assert models.model.version.number == 1
    write(tmp_path, 1)
    models.refresh()
    assert models.problem == ""


def test_a_model_is_let_go_when_another_has_taken_over(tmp_path, loads):
    import weakref

    write(tmp_path, 1)
    models = managed(tmp_path)
    old = weakref.ref(models.model)
    write(tmp_path, 2)
    models.refresh()
    assert models.model.version.number == 2
    assert old() is None


def wait_for(condition):
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come true in 5 s")


def test_a_model_that_is_being_compiled_does_not_keep_a_newer_version_waiting(tmp_path, loads, monkeypatch):
    go_on, lengths = threading.Event(), []

    def compile_(engine):
        for length in range(1, 4):
            lengths.append((engine.version.number, length))
            go_on.wait(20)
            yield length

    monkeypatch.setattr(TinyEngine, "compile", compile_, raising=False)
    write(tmp_path, 1)
    models = ModelManager(tmp_path, poll_seconds=0.01, report=lambda line: None, compiled=True)
    models.start()
    try:
        wait_for(lambda: lengths == [(1, 1)])
        write(tmp_path, 2)
        wait_for(lambda: models.model.version.number == 2)
        go_on.set()
        wait_for(lambda: (2, 3) in lengths)
    finally:
        go_on.set()
        assert models.stop()
    assert [length for number, length in lengths if number == 1] == [1]


def test_no_thread_is_left_where_the_server_ends_while_a_model_loads(tmp_path, monkeypatch):
    loading, compiling, ended = threading.Event(), threading.Event(), threading.Event()

    def load(version, threads):
        loading.set()
        time.sleep(0.3)
        return with_version(version)

    def compile_(engine):
        compiling.set()
        ended.wait(20)
        yield 1

    monkeypatch.setattr(manager, "load_engine", load)
    monkeypatch.setattr(TinyEngine, "compile", compile_, raising=False)
    write(tmp_path, 1)
    models = ModelManager(tmp_path, report=lambda line: None, compiled=True)
    models.start()
    assert loading.wait(10)
    try:
        assert models.stop()
        assert not compiling.is_set()
    finally:
        ended.set()


def test_a_link_to_nothing_is_named(tmp_path, loads):
    write(tmp_path, 1)
    (tmp_path / "1" / "weights").symlink_to(tmp_path / "none")
    models = managed(tmp_path)
    models.refresh()
    assert f"{tmp_path}/1/weights is a link to nothing" in models.problem
