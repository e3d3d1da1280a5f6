"""Promotion in processes of their own: one that is killed at a chosen call, and many at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import google.cloud.storage  # noqa: F401 - takes a second, so it is imported once, before the processes are forked

from kfp_bert_components.errors import ConflictError
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import Store
from tests.support.models import write_candidate

_CALLS = ("read", "write", "upload", "delete", "list", "stat", "folders")


class CountedStore:
    """Passes calls on to a store, and kills this process when the n-th call to it has taken effect."""

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


class RivalStore:
    """Passes calls on to a store; a rival is promoted just before the champion pointer is written."""

    def __init__(self, store: Store, uri: str, rival: tuple[Path, Path, Path]) -> None:
        self._store, self._uri, self._rivals = store, uri, [rival]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, name: str, *args: Any, **settings: Any) -> Any:
        if name == "champion.json" and self._rivals:
            Registry(self._uri).promote(*self._rivals.pop())
        return self._store.write(name, *args, **settings)


def promote_and_die(
    uri: str, candidate: tuple[Path, Path, Path], last: int, rival: tuple[Path, Path, Path] | None = None
) -> None:
    """Promote, killed after call number `last`; a rival wins just before the pointer is moved."""
    registry = Registry(uri)
    if rival:
        let_rival_win(registry, rival)
    registry.store = CountedStore(registry.store, last)  # type: ignore[assignment]
    try:
        registry.promote(*candidate)
    except ConflictError:
        assert rival


def let_rival_win(registry: Registry, rival: tuple[Path, Path, Path]) -> None:
    """Let a rival win once the next promotion has stored its version, before it moves the pointer."""
    registry.store = RivalStore(registry.store, registry.uri, rival)  # type: ignore[assignment]


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
