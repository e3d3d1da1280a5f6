"""Promotion in processes of their own: one that is killed at a chosen call, and many at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import ConflictError
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import Store
from tests.support.models import write_candidate

_CALLS = ("read", "write", "upload", "delete", "list", "stat", "folders")


class InterruptedStore:
    """Stands before a store and does something once, before a call of this kind for this object.

    Args:
        store: The store.
        call: "write" or "delete".
        name: Name of the object.
        interruption: What to do; it is given no arguments.
    """

    def __init__(self, store: Store, call: str, name: str, interruption: Callable[[], object]) -> None:
        self._store, self._call, self._name, self._interruption = store, call, name, interruption

    def __getattr__(self, call: str) -> Any:
        found = getattr(self._store, call)
        if call != self._call:
            return found

        def interrupted(name: str, *args: object, **settings: object) -> object:
            if name == self._name and self._interruption:
                interruption, self._interruption = self._interruption, None
                interruption()
            return found(name, *args, **settings)

        return interrupted


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


def interrupt(registry: Registry, call: str, name: str, interruption: Callable[[], object]) -> None:
    """Do something once, just before the registry writes or deletes this object; see `InterruptedStore`."""
    registry.store = InterruptedStore(registry.store, call, name, interruption)  # type: ignore[assignment]


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
