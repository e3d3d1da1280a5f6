"""The lock of a local store: a process that is stopped while it holds it does not block the others in silence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import Access, open_store
from tests.support.models import promote_next

HOLD = """
import os, signal, sys
from kfp_bert_components.storage import open_store
def stop(*names, real=os.replace):
    os.kill(os.getpid(), signal.SIGSTOP)
    real(*names)
os.replace = stop
open_store(sys.argv[1]).write("theirs", b"1")
"""


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """A process that is stopped in the middle of a write to the store tmp_path/store."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "store")])
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    yield process
    process.kill()
    process.wait()


def test_those_who_wait_say_who_has_the_lock_and_give_up(tmp_path, stopped, capsys):
    store = open_store(str(tmp_path / "store"), Access(patience=0.9))
    started = time.monotonic()
    with pytest.raises(UserError) as raised:
        store.write("ours", b"2")
    assert 0.9 <= time.monotonic() - started < 5
    assert f"was not given back for 0.9 s: process {stopped.pid} on " in str(raised.value)
    assert "(since 20" in str(raised.value) and "kill -CONT" in str(raised.value)
    said = capsys.readouterr().out.splitlines()
    assert 2 <= len(said) <= 6 and all(f"process {stopped.pid} on " in line for line in said)
    with pytest.raises(UserError, match="was not given back"):
        store.delete("theirs") if store.exists("theirs") else store.write("theirs", b"3")


@pytest.mark.parametrize("name", ["lock", "holder"])
def test_a_pipe_in_the_place_of_a_file_of_the_store_is_not_waited_for(tmp_path, name):
    store = open_store(str(tmp_path / "store"))
    store.write("ours", b"1")
    (tmp_path / "store/.store" / name).unlink()
    os.mkfifo(tmp_path / "store/.store" / name)
    with pytest.raises(UserError, match=rf"/\.store/{name} is a named pipe, and only files can be read: take it away"):
        store.write("ours", b"2")
    assert store.read("ours").data == b"1"


def test_who_has_the_lock_is_not_asked_of_a_pipe(tmp_path, stopped):
    (tmp_path / "store/.store/holder").unlink()
    os.mkfifo(tmp_path / "store/.store/holder")
    with pytest.raises(UserError, match="was not given back for 0.3 s: another process has it"):
        open_store(str(tmp_path / "store"), Access(patience=0.3)).write("ours", b"2")


def test_nobody_gives_up_while_others_take_turns(tmp_path, monkeypatch):
    def slowly(*names: str, real: Callable[..., None] = os.replace) -> None:
        time.sleep(0.2)
        real(*names)

    monkeypatch.setattr(os, "replace", slowly)
    stores = [open_store(str(tmp_path / "store"), Access(patience=1.0)) for _ in range(10)]
    started = time.monotonic()
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda store: store.write("ours", b"2"), stores))
    assert time.monotonic() - started >= 2.0  # so the last one has waited longer than that


def test_when_the_process_goes_on_everybody_does(tmp_path, stopped):
    store = open_store(str(tmp_path / "store"))
    with ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(store.write, f"ours{i}", b"2") for i in range(8)]
        time.sleep(0.3)
        assert not any(write.done() for write in writes)
        os.kill(stopped.pid, signal.SIGCONT)
        assert len({write.result(timeout=20) for write in writes}) == 8
    assert stopped.wait(timeout=20) == 0
    assert [entry.name for entry in store.list()] == [*(f"ours{i}" for i in range(8)), "theirs"]


def test_when_the_process_is_killed_everybody_goes_on(tmp_path, stopped):
    stopped.kill()
    assert open_store(str(tmp_path / "store")).write("ours", b"2") > 0
    assert not (tmp_path / "store" / "theirs").exists()


def test_threads_give_up_together_and_so_does_a_promotion(tmp_path, stopped):
    registry = Registry(str(tmp_path / "store"), Access(patience=0.5))
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        writes = [pool.submit(registry.store.write, f"ours{i}", b"2") for i in range(8)]
        errors = [write.exception() for write in writes]
    assert all(isinstance(error, UserError) for error in errors)
    with pytest.raises(UserError, match=f"process {stopped.pid} on "):
        promote_next(registry, tmp_path, "a")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("left", [b"", b"\0" * 16, b"garbage"])
def test_a_lock_that_a_power_cut_left_with_anything_in_it_stops_nobody(tmp_path: Path, left: bytes) -> None:
    store = open_store(str(tmp_path))
    before = store.write("name", b"1")
    (tmp_path / ".store" / "lock").write_bytes(left)
    assert store.write("name", b"2", if_generation=before) > before


def test_what_is_written_has_the_rights_that_the_umask_leaves(tmp_path: Path):
    before = os.umask(0o002)
    try:
        open_store(str(tmp_path / "shared")).write("a/b.json", b"{}")
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "shared").rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"lock", "holder", "b.json"}
    assert all(path.stat().st_mode & 0o777 == 0o664 for path in files)
