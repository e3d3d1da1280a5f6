"""The deployment record as a journal that only the holder of its lease can write."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kfp_bert_components.deployment.states import PENDING, PREPARING, RESTING, TRANSITIONS, recorded_as
from kfp_bert_components.errors import ConflictError, UserError

if TYPE_CHECKING:
    from kfp_bert_components.registry import Registry

_PAUSES = (0.2, 0.5, 1.0)  # seconds before a write is tried again
_NOBODY = ""  # holder of a lease that was given up


class LeaseLostError(UserError):
    """Another run took the rollout over; this one must not touch anything any more."""


class Journal:
    """What is known of one rollout, written to the registry at every step.

    The record is the lease as well: every write is a compare-and-swap on its generation, and a thread writes
    it again before the lease runs out. Whoever finds the record unchanged for `lease_seconds` takes it over,
    by its own clock, so the clocks of two machines need not agree. A run that stops short of the end gives its
    lease up, and the next need not wait.

    Args:
        registry: The registry that holds the record.
        target: Name of the record.
        lease_seconds: Time without a sign of life after which another run may take over.

    Attributes:
        state: One of the states of `deployment.states`.
        version: The registry version that is being rolled out, or was.
        reason: Why the last rollout failed, or "".
        facts: What the target needs to go on: names, identifiers, traffic. Plain JSON.
        live: `{"version": n, "facts": {...}}` of the last rollout that ended live, or {}.
        given_up: Whether the run that held the lease has stopped and let go of it.
    """

    def __init__(self, registry: Registry, target: str, lease_seconds: float = 60.0) -> None:
        self._registry, self._target, self._lease_seconds = registry, target, lease_seconds
        self._holder = uuid.uuid4().hex
        self._lock, self._stop = threading.RLock(), threading.Event()
        self._lost = False
        self._thread: threading.Thread | None = None
        self.read()

    def read(self) -> None:
        """Take over what the registry says now."""
        record = self._registry.deployment(self._target)
        details = record.details
        self.generation, self.version, self.reason = record.generation, record.version or 0, record.reason
        self.state = PENDING if record.state == "none" else record.state
        if record.state == "rolling":  # a record without a step was written by hand: begin with the first one
            self.state = details.get("step", PREPARING)
        self.facts: dict[str, Any] = details.get("facts", {})
        self.live: dict[str, Any] = details.get("live", {})
        self.given_up = details.get("holder") == _NOBODY

    def acquire(self, version: int, report: Callable[[str], None] = print) -> bool:
        """Get the lease: begin a rollout of `version`, or take over one whose run is dead.

        Returns:
            Whether it is held now. False: another run held it and did something meanwhile, so look again.
        """
        try:
            if self.state in RESTING:
                self._begin(version)
                report(f"rolling out version {version}")
                return True
            if self.given_up:
                report(f"another run stopped rolling out version {self.version} ({self.state}): going on in its place")
            else:
                report(f"another run is rolling out version {self.version} ({self.state}): waiting for it")
                if self._changes_within_lease():
                    return False
                report(f"it has not been heard of for {self._lease_seconds:g} s: going on in its place")
            self._write()
        except LeaseLostError:
            return False
        return True

    def _changes_within_lease(self) -> bool:
        generation, version, state = self.generation, self.version, self.state
        heard = time.monotonic()
        while time.monotonic() - heard < self._lease_seconds:
            time.sleep(min(1.0, self._lease_seconds / 10))
            self.read()
            if self.state in RESTING or self.version != version or self.given_up:
                return True
            if self.generation != generation or self.state != state:
                generation, state, heard = self.generation, self.state, time.monotonic()
        return False

    def _begin(self, version: int) -> None:
        """Start a new rollout; what the last one noted is forgotten, unless it is live. One write decides."""
        self.version, self.reason = version, ""
        self.facts = {"attempt": self.facts.get("attempt", 0) + 1}
        self.enter(PREPARING)

    def enter(self, state: str, reason: str = "") -> None:
        """Write that the rollout is in `state` now.

        Raises:
            LeaseLostError: Another run took over.
        """
        with self._lock:
            assert state in TRANSITIONS[self.state], f"{self.state} -> {state}"
            self.state, self.reason = state, reason or self.reason
            if state == "live":
                self.live = {"version": self.version, "facts": self.facts}
            self._write()

    def note(self, **facts: Any) -> None:
        """Write facts that the next run needs if this one dies now."""
        with self._lock:
            if any(self.facts.get(name) != value for name, value in facts.items()):
                self.facts = {**self.facts, **facts}
                self._write()

    def check(self) -> None:
        """Make sure that the lease is held: to be called before anything that changes the world."""
        if self._lost:
            raise LeaseLostError(f"Another run took over the rollout to {self._target!r}: this one stopped.")

    def _write(self) -> None:
        """Write the record, unless another run holds the lease now. A write that fails is tried again."""
        with self._lock:
            for pause in (*_PAUSES, None):
                self.check()
                try:
                    if self._write_once():
                        return
                except LeaseLostError:
                    raise
                except Exception:
                    if pause is None:
                        raise
                    time.sleep(pause)
            raise ConflictError(f"The deployment record of {self._target} cannot be written: try later.")

    def _write_once(self) -> bool:
        """Whether the record is written; not, if an earlier write of ours turned out to have arrived."""
        beat = uuid.uuid4().hex
        details: dict[str, Any] = {"step": self.state, "holder": self._holder, "beat": beat}
        details |= {"facts": self.facts, "live": self.live}
        try:
            record = self._registry.record_deployment(
                self._target,
                recorded_as(self.state),
                self.version,
                self.reason,
                if_generation=self.generation,
                details=details,
            )
        except ConflictError:
            record = self._registry.deployment(self._target)
        if record.details.get("holder") != self._holder:
            self._lost = True
            self.check()
        self.generation = record.generation
        return record.details.get("beat") == beat

    def __enter__(self) -> Journal:
        self._thread = threading.Thread(target=self._renew, name="rollout-lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()
        if self.state not in RESTING and not self._lost:
            self._holder = _NOBODY
            with suppress(Exception):  # then the next run waits until the lease runs out
                self._write_once()

    def _renew(self) -> None:
        renewed = time.monotonic()
        while not self._stop.wait(self._lease_seconds / 4):
            with self._lock:
                if self.state in RESTING or self._lost:
                    continue
                try:
                    self._write()
                    renewed = time.monotonic()
                except LeaseLostError:
                    return
                except Exception:  # a storage that fails for a while costs nothing as long as the lease lasts
                    if time.monotonic() - renewed > self._lease_seconds * 0.8:
                        self._lost = True
