"""Promotion in processes of their own: one that is killed at a chosen call, and many at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import ConflictError
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import Store
from tests.support.models import write_candidate

Position = int | tuple[str, str]  # of a call to a store: its number, or its kind and the name of the object
_CALLS = ("read", "write", "upload", "delete", "list", "stat", "folders")


class InterruptedStore:
    """Stands before a store and does something once, before a call of this kind for this object.

    Args:
        store: The store.
        call: "read", "write", "list" or "delete".
        name: Name of the object.
        interruption: What to do; it is given no arguments.
        after: Do it when the call has taken effect.
    """

    def __init__(
        self, store: Store, call: str, name: str, interruption: Callable[[], object], after: bool = False
    ) -> None:
        self._store, self._call, self._name, self._interruption = store, call, name, interruption
        self._after = after

    def __getattr__(self, call: str) -> Any:
        found = getattr(self._store, call)
        if call != self._call:
            return found

        def interrupted(name: str, *args: object, **settings: object) -> object:
            mine = name == self._name and self._interruption
            if mine:
                self._interruption = None  # type: ignore[assignment]
            if mine and not self._after:
                mine()
            result = found(name, *args, **settings)
            if mine and self._after:
                mine()
            return result

        return interrupted


class PausedStore:
    """Stands before a store and does something once, before the n-th call to it or the first call of (kind, name).

    Attributes:
        paused: Whether that call came.
    """

    def __init__(self, store: Store, position: Position, interruption: Callable[[], object]) -> None:
        self._store, self._position, self._interruption = store, position, interruption
        self._calls, self._lock, self.paused = 0, threading.Lock(), False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in _CALLS:
            return found

        def call(*args: object, **settings: object) -> object:
            with self._lock:
                self._calls += 1
                mine = not self.paused and self._position in (self._calls, (name, args[0] if args else None))
                self.paused = self.paused or mine
            if mine:
                self._interruption()
            return found(*args, **settings)

        return call


def interleave(
    uri: str, first: Callable[[Registry], Any], one: Position, second: Callable[[Registry], Any], two: Position
) -> tuple[Any, bool]:
    """Run the first to before its call `one`, the second to before its call `two`, then both to their ends in turn.

    Returns:
        What the first returned, and whether both were paused: if not, they have fewer calls than that.
    """
    ahead, back = Registry(uri), Registry(uri)
    paused, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        paused.set()
        go_on.wait()

    back.store = PausedStore(back.store, two, pause)  # type: ignore[assignment]
    with ThreadPoolExecutor(1) as pool:
        later: list[Any] = []

        def run_second() -> None:
            later.append(pool.submit(second, back))
            later[0].add_done_callback(lambda done: paused.set())
            paused.wait()

        ahead.store = PausedStore(ahead.store, one, run_second)  # type: ignore[assignment]
        try:
            result = first(ahead)
        finally:
            go_on.set()
        if later:
            later[0].result()
    return result, ahead.store.paused and back.store.paused  # type: ignore[attr-defined]


class CountedStore:
    """Stands before a store and kills this process when the n-th call to it has taken effect."""

    def __init__(self, store: Store, last: int) -> None:
        self._store, self._last, self._calls = store, last, 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in _CALLS:
            return found

        def call(*args: object, **settings: object) -> object:
            try:
                return found(*args, **settings)
            finally:
                self._calls += 1
                if self._calls == self._last:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call


def promote_and_die(
    uri: str, candidate: tuple[Path, Path, Path], last: int, rival: tuple[Path, Path, Path] | None = None
) -> None:
    """Promote, killed after call number `last`; a rival wins just before the pointer is moved."""
    registry = Registry(uri)
    registry.store = CountedStore(registry.store, last)  # type: ignore[assignment]
    if rival:
        beat_by(registry, rival)
    try:
        registry.promote(*candidate)
    except ConflictError:
        assert rival


def beat_by(registry: Registry, rival: tuple[Path, Path, Path]) -> None:
    """Let a rival win once the next promotion has stored its version, just before it moves the pointer."""
    interrupt(registry, "write", "champion.json", lambda: Registry(registry.uri).promote(*rival))


def interrupt(
    registry: Registry, call: str, name: str, interruption: Callable[[], object], after: bool = False
) -> None:
    """Do something once, just before the registry's next call of this kind for this object; see `InterruptedStore`."""
    registry.store = InterruptedStore(registry.store, call, name, interruption, after)  # type: ignore[assignment]


def compete(uri: str, folder: Path, number: int, rounds: int, barrier: Any, results: Any) -> None:
    """Promote a model of one's own in each round, all at once, each compared with the same champion."""
    registry = Registry(uri)
    for turn in range(rounds):
        champion = registry.champion()
        candidate = write_candidate(
            folder / f"{number}-{turn}",
            f"{number} in round {turn}",
            champion_version=champion.version if champion else None,
            champion_generation=champion.generation if champion else 0,
            decision_id=f"{turn}/{number}",
            files=1,
        )
        barrier.wait()
        try:
            results.put((turn, number, registry.promote(*candidate), ""))
        except ConflictError as error:
            results.put((turn, number, 0, str(error)))
        barrier.wait()
