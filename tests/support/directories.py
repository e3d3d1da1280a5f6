"""Rollouts to a serving directory, with registries whose calls block, and in processes that are killed or stopped."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp_bert_components.deployment import (
    DirectoryTarget,
    SmokeSettings,
    deploy_to_serving_directory,
    open_versioned_folder,
    roll_out,
)
from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry
from tests.support.models import write_candidate


def promote_graph(registry: Registry, scratch: Path, name: str) -> int:
    """Make a model champion that has a graph's file, which no engine can load."""
    champion = registry.champion()
    candidate = write_candidate(
        scratch / name,
        name,
        champion_generation=champion.generation if champion else 0,
        champion_version=champion.version if champion else None,
    )
    (candidate[0] / "saved_model" / "saved_model.pb").write_text(f"graph of {name}")
    return registry.promote(*candidate)


class HeldFolder:
    """A serving directory of a run that is stopped between the last look at its lease and one change.

    Args:
        uri: The directory.
        change: "add" or "remove".

    Attributes:
        reached: Set when the run has come there.
        go_on: Set it to let it go on.
    """

    def __init__(self, uri: str, change: str) -> None:
        self._folder, self._change = open_versioned_folder(uri), change
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._folder, name)
        if name != self._change:
            return found

        def held(*arguments: Any) -> None:
            if callable(arguments[-1]):
                *arguments, check = arguments  # type: ignore[assignment]
                check()
                self.reached.set()
                self.go_on.wait(60)
            found(*arguments)

        return held


class HeldUpload:
    """A serving directory of a run that is stopped in its upload, after some looks at its lease.

    Args:
        uri: The directory.
        looks: How many.

    Attributes:
        reached, go_on: As in `HeldFolder`.
    """

    def __init__(self, uri: str, looks: int) -> None:
        self._folder, self._left = open_versioned_folder(uri), looks
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._folder, name)

    def add(self, version: Path, number: int, check: Callable[[], object]) -> None:
        def look() -> None:
            check()
            self._left -= 1
            self._hold()

        self._hold()
        self._folder.add(version, number, look)

    def _hold(self) -> None:
        if not self._left:
            self.reached.set()
            self.go_on.wait(60)


class StoppedRegistry(Registry):
    """The registry of a run that is stopped in its folder: its writes hang for the same time.

    Args:
        uri: The registry.
        held: The folder.
        fails: Whether it can't be written any more, before, once the rollout has passed its test.
    """

    def __init__(self, uri: str, held: HeldFolder | HeldUpload, *, fails: bool) -> None:
        super().__init__(uri)
        self._held, self._fails = held, fails

    def record_deployment(self, *arguments: Any, **options: Any) -> Any:
        if self._held.reached.is_set():
            self._held.go_on.wait(60)
        elif self._fails and options["details"]["step"] in ("shifting", "reverting"):
            raise UserError("the storage is down")
        return super().record_deployment(*arguments, **options)


def deploy_to_folder(
    registry: Registry,
    folder: str | HeldFolder | HeldUpload,
    scratch: Path,
    *,
    target: str = "production",
    lease_seconds: float = 1.0,
) -> dict[str, Any]:
    """Roll the champion out with this registry, whose methods may have been replaced."""
    place = DirectoryTarget(
        registry,
        open_versioned_folder(folder) if isinstance(folder, str) else folder,  # type: ignore[arg-type]
        target,
        scratch,
        keep=2,
        server=None,
        smoke=SmokeSettings(),
        engine=None,
        take_over=False,
    )
    return roll_out(registry, target, place, lease_seconds=lease_seconds, pause_seconds=0.01, report=lambda line: None)


class BlockedRegistry(Registry):
    """A registry whose calls about deployments hang from the n-th write on, until `go_on` is set.

    Args:
        uri: The registry.
        position: Number of the first write of a deployment record that hangs.
        moment: "before" or "after" this write takes effect. All later calls hang before they do.

    Attributes:
        blocked: Set when the first call hangs.
        go_on: Set it to let all calls go on.
    """

    def __init__(self, uri: str, position: int, moment: str) -> None:
        super().__init__(uri)
        self.blocked, self.go_on = threading.Event(), threading.Event()
        self._left, self._moment, self._counting = position, moment, threading.Lock()

    def record_deployment(self, *arguments: Any, **options: Any) -> Any:
        with self._counting:
            self._left -= 1
            left = self._left
        if left == 0 and self._moment == "after":
            found = super().record_deployment(*arguments, **options)
            self._hang()
            return found
        if left <= 0:
            self._hang()
        return super().record_deployment(*arguments, **options)

    def deployment(self, target: str) -> Any:
        if self.blocked.is_set():
            self._hang()
        return super().deployment(target)

    def _hang(self) -> None:
        self.blocked.set()
        self.go_on.wait(60)


def start_thread(call: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    """Start a call in a thread; the list gets the error that it ends with."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, errors


def deploy_in_process(registry_uri: str, folder: str, lease_seconds: float) -> None:
    """A rollout for a process of its own."""
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    deploy_to_serving_directory(registry_uri, folder, lease_seconds=lease_seconds)
