"""Promotion in processes of their own: one that is killed at a chosen call, and many at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import ConflictError
from kfp_bert_components.registry import Registry, _promotion
from kfp_bert_components.storage import Store, _gcs  # imported once, before the processes are forked
from tests.support.models import write_candidate

assert _gcs
_CALLS = ("read", "write", "upload", "delete", "list", "stat", "folders")


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
        beat_by(uri, rival)
    try:
        registry.promote(*candidate)
    except ConflictError:
        assert rival


def beat_by(uri: str, rival: tuple[Path, Path, Path]) -> None:
    """Let a rival win once the next promotion has stored its version, before it moves the pointer."""
    swap = _promotion._swap

    def late(*arguments: Any) -> int:
        _promotion._swap = swap
        Registry(uri).promote(*rival)
        return swap(*arguments)

    _promotion._swap = late


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
