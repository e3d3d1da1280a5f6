"""The deployment record as a journal that only the holder of its lease can write."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kfp_bert_components.deployment.states import IDLE, PENDING, PREPARING, TRANSITIONS, recorded_as
from kfp_bert_components.errors import ConflictError, UserError

if TYPE_CHECKING:
    from kfp_bert_components.registry import Registry

_PAUSES = (0.2, 0.5, 1.0)  # before a write is tried again, as multiples of `pause_seconds`
_NOBODY = ""  # the holder of a lease that was released


class LeaseLostError(UserError):
    """Another run has taken the rollout over. This run must not change anything any more."""


class Journal:
    """What is known of one rollout, written to the registry at every step.

    The record is the lease as well: every write is a compare-and-swap on its generation, and a thread writes it again
    before the lease expires. A run that sees the record unchanged for `lease_seconds`, by its own clock, takes it
    over, so the clocks of two machines need not agree. A run that stops before the end releases the lease, and the
    next run need not wait.

    Use it as a context manager while a rollout is under way: this starts the thread, and releases the lease.

    Args:
        registry: The registry that holds the record.
        target: Name of the record.
        lease_seconds: Time without a write after which another run may take over.
        pause_seconds: Longest pause before a write that failed is tried again.

    Attributes:
        state: One of the states of `deployment.states`.
        version: The registry's version that is, or was last, rolled out; 0 if there was none.
        reason: Why the last rollout failed, or "".
        facts: What the target needs to go on: names, identifiers, traffic. Plain JSON values.
        live: `{"version": n, "facts": {...}}` of the last rollout that ended live, or {}.
        released: Whether the last holder of the lease released it before the rollout was complete.
    """

    def __init__(
        self, registry: Registry, target: str, lease_seconds: float = 60.0, pause_seconds: float = 1.0
    ) -> None:
        self._registry, self._target, self._lease_seconds = registry, target, lease_seconds
        self._pauses = [share * pause_seconds for share in _PAUSES]
        self._holder = uuid.uuid4().hex
        self._lock, self._stop = threading.RLock(), threading.Event()
        self._lost = False
        self._thread: threading.Thread | None = None
        self.read()

    def read(self) -> None:
        """Read the record from the registry."""
        record = self._registry.deployment(self._target)
        details = record.details
        self.generation, self.version, self.reason = record.generation, record.version or 0, record.reason
        self.state = PENDING if record.state == "none" else record.state
        if record.state == "rolling":  # a record without a step was written by hand: begin with the first one
            self.state = details.get("step", PREPARING)
        self.facts: dict[str, Any] = details.get("facts", {})
        self.live: dict[str, Any] = details.get("live", {})
        self.released = details.get("holder") == _NOBODY

    def acquire(self, version: int, report: Callable[[str], None] = print) -> bool:
        """Get the lease: begin a rollout of `version`, or take over one that another run left.

        It waits while another run holds the lease, until that run does something or its lease expires.

        Args:
            version: The registry's version to roll out if no rollout is under way.
            report: Called with each line about what is going on.

        Returns:
            Whether this run holds the lease. If not, another run changed the record: read it and decide anew.
        """
        try:
            if self.state in IDLE:
                self._begin(version)
                report(f"rolling out version {version}")
                return True
            if self.released:
                report(f"another run stopped rolling out version {self.version} ({self.state}): going on in its place")
            else:
                report(f"another run is rolling out version {self.version} ({self.state}): waiting for it")
                if self._changes_within_lease():
                    return False
                report(f"it has written nothing for {self._lease_seconds:g} s: going on in its place")
            self._write()
        except LeaseLostError:
            return False
        return True

    def _changes_within_lease(self) -> bool:
        """Wait for the end of another run's lease. Whether the rollout ended, or its lease was released, meanwhile."""
        generation, version, state = self.generation, self.version, self.state
        changed_at = time.monotonic()
        while time.monotonic() - changed_at < self._lease_seconds:
            time.sleep(min(1.0, self._lease_seconds / 10))
            self.read()
            if self.state in IDLE or self.version != version or self.released:
                return True
            if self.generation != generation or self.state != state:
                generation, state, changed_at = self.generation, self.state, time.monotonic()
        return False

    def _begin(self, version: int) -> None:
        """Start a new rollout with one write. Facts of the last one are dropped; if it is live, `live` has them."""
        self.version, self.reason = version, ""
        self.facts = {"attempt": self.facts.get("attempt", 0) + 1}
        self.enter(PREPARING)

    def enter(self, state: str, reason: str = "") -> None:
        """Write that the rollout is in `state` now.

        Args:
            state: A state that `TRANSITIONS` allows after the present one.
            reason: Why the rollout failed; "" keeps the reason that is there.

        Raises:
            LeaseLostError: Another run has taken over.
        """
        with self._lock:
            assert state in TRANSITIONS[self.state], f"{self.state} -> {state}"
            self.state, self.reason = state, reason or self.reason
            if state == "live":
                self.live = {"version": self.version, "facts": self.facts}
            self._write()

    def note(self, **facts: Any) -> None:
        """Write facts that the next run needs if this one is killed now; facts of other names stay.

        Raises:
            LeaseLostError: Another run has taken over.
        """
        with self._lock:
            if any(self.facts.get(name) != value for name, value in facts.items()):
                self.facts = {**self.facts, **facts}
                self._write()

    def check(self) -> None:
        """Raise LeaseLostError if another run has taken over. To be called before each change outside the journal."""
        if self._lost:
            raise LeaseLostError(f"Another run took over the rollout to {self._target!r}: this one stopped.")

    def _write(self) -> None:
        """Write the record, unless another run holds the lease now. A write that fails is tried again."""
        with self._lock:
            for pause in (*self._pauses, None):
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
            raise ConflictError(
                f"The deployment record of {self._target!r} in {self._registry.uri} cannot be written: run again later."
            )

    def _write_once(self) -> bool:
        """Try to write. False if an earlier write of this run is there instead, whose answer was lost."""
        write_id = uuid.uuid4().hex
        details: dict[str, Any] = {"step": self.state, "holder": self._holder, "beat": write_id}
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
        return record.details.get("beat") == write_id

    def __enter__(self) -> Journal:
        self._thread = threading.Thread(target=self._renew, name="rollout-lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()
        if self.state not in IDLE and not self._lost:
            self._holder = _NOBODY
            with suppress(Exception):  # then the next run waits until the lease expires
                self._write_once()

    def _renew(self) -> None:
        """Write the record four times in each period of the lease, until the block ends."""
        renewed = time.monotonic()
        while not self._stop.wait(self._lease_seconds / 4):
            with self._lock:
                if self.state in IDLE or self._lost:
                    continue
                try:
                    self._write()
                    renewed = time.monotonic()
                except LeaseLostError:
                    return
                except Exception:  # a storage that fails does no harm until the lease is about to expire
                    if time.monotonic() - renewed > self._lease_seconds * 0.8:
                        self._lost = True
