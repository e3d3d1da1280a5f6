"""The deployment record as a journal that only the holder of its lease can write."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kfp_bert_components.deployment.facts import Facts
from kfp_bert_components.deployment.states import (
    FAILED,
    FINISHING,
    IDLE,
    PENDING,
    PREPARING,
    REVERTING,
    TRANSITIONS,
    recorded_as,
)
from kfp_bert_components.deployment.time_limits import check_lease, clock, within
from kfp_bert_components.errors import ConflictError, UserError

if TYPE_CHECKING:
    from kfp_bert_components.registry import Deployment, Registry

_PAUSES = (0.2, 0.5, 1.0)  # before a write is tried again, as multiples of `pause_seconds`
_NOBODY = ""  # the holder of a lease that was released
_MOST_WRITES = 20  # until one is there; the thread that renews the lease may be faster some times
_SHORTEST_LIMIT = 1.0  # seconds for one call, however short the lease


class LeaseLostError(UserError):
    """The lease is over. This run must not change anything any more."""


class Journal:
    """What is known of one rollout, written to the registry at every step.

    The record is the lease as well: every write is a compare-and-swap on its generation, and a thread writes it again
    before the lease expires. A run that sees the record unchanged for `lease_seconds`, by its own clock, takes it
    over, so the clocks of two machines need not agree. Of its own seconds and those of the holder, which are in the
    record, the longer ones count. For its holder the lease ends `lease_seconds` after the begin of
    its last write, which is earlier; so it knows by its own clock when it must stop. A run that stops before the end
    releases the lease, and the next run need not wait.

    A record is about one place. What is known of other places that had the same name is kept in it (`elsewhere`).

    Use it as a context manager while a rollout is under way: this starts the thread, and releases the lease.

    Args:
        registry: The registry that holds the record.
        target: Name of the record.
        lease_seconds: Time without a write after which another run may take over; above 0.
        pause_seconds: Longest pause before a write that failed is tried again.
        place: The full identity of the place, as in `registry.Deployment`. {}: the one that the record is about.
        is_named_by: `Target.is_named_by`, for what was noted under another identity.

    Attributes:
        state: One of the states of `deployment.states`.
        version: The registry's version that is, or was last, rolled out; 0 if there was none.
        reason: Why the last rollout failed, or "".
        facts: What the target needs to go on: names, identifiers, traffic. Plain JSON values.
        live: `{"version": n, "facts": {...}}` of the last rollout that ended live, or {}; after a failure, of what was
            seen to serve then.
        live_is_known: False where it could not be told after a failure whether `live` still serves.
        memory: What is remembered from one rollout at this place to the next, for good. Plain JSON values.
        holder: A name of this run, different from that of every other run.
        released: Whether the last holder of the lease released it before the rollout was complete.
        call_seconds: Longest time that one call to the registry or to the target may take: half of the lease.

    Raises:
        UserError: `lease_seconds` is 0 or less, or the record cannot be read.
    """

    def __init__(
        self,
        registry: Registry,
        target: str,
        lease_seconds: float = 60.0,
        pause_seconds: float = 1.0,
        place: Mapping[str, str] | None = None,
        is_named_by: Callable[[Mapping[str, Any]], bool] = lambda facts: False,
    ) -> None:
        check_lease(lease_seconds)
        self._registry, self._target, self._lease_seconds = registry, target, lease_seconds
        self._pauses = [share * pause_seconds for share in _PAUSES]
        self._place, self._is_named_by = dict(place or {}), is_named_by
        self.holder = uuid.uuid4().hex
        self.call_seconds = longest_call(lease_seconds)
        # Held for an assignment, never during a call.
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._signature, self._lost = self.holder, False
        self._ends: float | None = None  # when the lease ends, by `clock`; None before it is held
        self._thread: threading.Thread | None = None
        self.read()

    def read(self) -> None:
        """Read the record from the registry."""
        record = self._call(lambda: self._registry.deployment(self._target))
        elsewhere = dict(record.details.get("elsewhere", {}))
        known = [elsewhere.pop(key) for key, one in tuple(elsewhere.items()) if self._is_here(key, one)]
        self._here = not self._place or not record.place or self._is_here(_key(record.place), _entry(record))
        if not self._here:
            elsewhere[_key(record.place)] = _entry(record)
        view = _entry(record) if self._here else known[-1] if known else {}
        self._elsewhere, self._record, self.generation = elsewhere, record, record.generation
        self.version, self.reason = view.get("version") or 0, view.get("reason", "")
        self.state = PENDING if view.get("state", "none") == "none" else view["state"]
        if self.state == "rolling":  # a record without a step was written by hand: begin with the first one
            self.state = view.get("step", PREPARING)
        self.facts: dict[str, Any] = Facts(self._target, view.get("facts", {}))
        self.live: dict[str, Any] = view.get("live", {})
        if self.live:
            self.live = {**self.live, "facts": Facts(self._target, self.live["facts"])}
        self.live_is_known = view.get("live_is_known", True)
        self.memory: dict[str, Any] = view.get("memory", {})
        self.released = record.details.get("holder") == _NOBODY

    def _is_here(self, key: str, entry: Mapping[str, Any]) -> bool:
        """Whether an entry, kept under the identity `key`, is about this place."""
        facts = (entry.get("facts", {}), entry.get("live", {}).get("facts", {}))
        return key == _key(self._place) or any(self._is_named_by(one) for one in facts)

    def acquire(self, version: int, report: Callable[[str], None] = print) -> bool:
        """Get the lease: begin a rollout of `version`, or take over one that another run left.

        It waits while another run holds the lease, until that run does something or its lease expires.

        Args:
            version: The registry's version to roll out if no rollout is under way.
            report: Called with each line about what is going on.

        Returns:
            Whether this run holds the lease. If not, another run changed the record: read it and decide anew.
        """
        if not self._wait_for_others(report):
            return False
        try:
            if self.state in IDLE:
                self._begin(version)
                report(f"rolling out version {version}")
            else:
                self._write()
        except LeaseLostError:
            return False
        return True

    def make_current(self, report: Callable[[str], None] = print) -> bool:
        """Write that the record is about this place, if it is about another one. What it says of both stays.

        It waits while another run rolls out to the other place.

        Returns:
            Whether the record is about this place. If not, another run changed it: read it and decide anew.
        """
        return self._here or (self._wait_for_others(report) and self._is_written())

    def unfinished(self, version: int) -> str:
        """What the next run would do first with a rollout that is under way, in words; "" where none is.

        Args:
            version: The champion.
        """
        if self.state in IDLE:
            return ""
        reverts = self.state == REVERTING or (self.version != version and REVERTING in TRANSITIONS[self.state])
        what = "take back" if reverts else "go on with the rollout of"
        return f"would {what} version {self.version}, which is {self.state}"

    def only_ends(self, champion: int) -> bool:
        """Whether the rollout under way is only taken back or finished by the next run: it starts nothing new.

        Args:
            champion: The version that is champion now.
        """
        if self.state in (FINISHING, REVERTING):
            return True
        return self.state not in IDLE and self.version != champion

    def retract(self, reason: str, live: dict[str, Any] | None, report: Callable[[str], None] = print) -> bool:
        """Write that the rollout to this place failed for good, as the place is not ours any more.

        Args:
            reason: Why.
            live: As in `saw`.
            report: Called with each line about what is going on.

        Returns:
            As `make_current`.
        """
        if not self._wait_for_others(report):
            return False
        self.saw(live)
        self.state, self.reason = FAILED, reason
        return self._is_written()

    def saw(self, live: dict[str, Any] | None) -> None:
        """Let the next write say what serves at the place, as `Target.what_serves` gave it; None: it cannot be told."""
        with self._lock:
            self.live, self.live_is_known = self.live if live is None else live, live is not None

    def _is_written(self) -> bool:
        """Write the record. False if another run was faster."""
        try:
            self._write()
        except LeaseLostError:
            return False
        return True

    def _wait_for_others(self, report: Callable[[str], None]) -> bool:
        """Wait until the lease is free. Whether the record is as it was read; if not, it was read anew."""
        if self._held_by_another():
            what = f"version {self._record.version} ({self._record.details.get('step', 'rolling')})"
            what += "" if self._here else f" to {self._record.place_in_words()}"
            report(f"another run is rolling out {what}: waiting for it")
            if self._changes_within_lease():
                return False
            report(f"it has written nothing for {self._patience:g} s: going on in its place")
        elif self.state not in IDLE:
            report(f"another run stopped rolling out version {self.version} ({self.state}): going on in its place")
        if not self._here and self._record.state == "rolling":
            report(f"that rollout stays as it is until the step runs for {self._record.place_in_words()} again")
        return True

    def _held_by_another(self) -> bool:
        return self._record.state == "rolling" and not self.released

    def _changes_within_lease(self) -> bool:
        """Wait for the end of another run's lease. Whether the rollout ended, or its lease was released, meanwhile."""
        version, generation, changed_at = self._record.version, self.generation, clock()
        while clock() - changed_at < self._patience:
            time.sleep(min(1.0, self._lease_seconds / 10))
            self.read()
            if not self._held_by_another() or self._record.version != version:
                return True
            if self.generation != generation:
                generation, changed_at = self.generation, clock()
        return False

    @property
    def _patience(self) -> float:
        """Seconds without a write after which another run's lease is over; older records do not name its own."""
        return max(self._lease_seconds, self._record.details.get("lease_seconds", 0.0))

    def _begin(self, version: int) -> None:
        """Start a new rollout with one write. Facts of the last one are dropped; if it is live, `live` has them."""
        self.version, self.reason = version, ""
        self.facts = Facts(self._target, {"attempt": self.facts.get("attempt", 0) + 1})
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
                self.live, self.live_is_known = {"version": self.version, "facts": self.facts}, True
        self._write()

    def note(self, **facts: Any) -> None:
        """Write facts that the next run needs if this one is killed now; facts of other names stay.

        The fact `served` is what the place calls the version; the record shows it beside the registry's number.

        Raises:
            LeaseLostError: Another run has taken over.
        """
        if any(self.facts.get(name) != value for name, value in facts.items()):
            with self._lock:
                self.facts = Facts(self._target, {**self.facts, **facts})
            self._write()

    def remember(self, **values: Any) -> None:
        """Write what later rollouts at this place must know; values of other names stay.

        Raises:
            LeaseLostError: Another run has taken over.
        """
        if any(self.memory.get(name) != value for name, value in values.items()):
            with self._lock:
                self.memory = {**self.memory, **values}
            self._write()

    def check(self) -> None:
        """Raise LeaseLostError unless a call of `call_seconds` that begins now ends within the lease.

        To be called before each call to the target. Where too little of the lease is left, it is renewed first.
        """
        self._refuse_if_lost()
        while self._ends is not None and clock() > self._ends - self._lease_seconds / 2:
            try:
                self._write()
            except LeaseLostError:
                raise
            except Exception as error:
                raise LeaseLostError(f"The rollout to {self._target!r} stopped: its lease ends. {error}") from error

    def _refuse_if_lost(self) -> None:
        if self._lost:
            raise LeaseLostError(f"Another run took over the rollout to {self._target!r}: this one stopped.")

    def _write(self) -> None:
        """Write the record, unless another run holds the lease now. A write that fails is tried again."""
        pauses = iter(self._pauses)
        for _ in range(_MOST_WRITES):
            self._refuse_if_lost()
            try:
                if self._write_once():
                    return
            except LeaseLostError:
                raise
            except Exception:
                if (pause := next(pauses, None)) is None:
                    raise
                time.sleep(pause)
        raise ConflictError(
            f"The deployment record of {self._target!r} in {self._registry.uri} cannot be written: run again later."
        )

    def _write_once(self) -> bool:
        """Try to write. False if another write of this run is there: of its thread, or one whose answer was lost."""
        write_id, began = uuid.uuid4().hex, clock()
        # What is written and the generation that it replaces belong together: of two writes at once one is refused.
        with self._lock:
            generation, signature, fields = self.generation, self._signature, self._fields(write_id)
        try:
            record = self._call(
                lambda: self._registry.record_deployment(self._target, if_generation=generation, **fields)
            )
        except ConflictError:
            record = self._call(lambda: self._registry.deployment(self._target))
        with self._lock:
            if record.details.get("holder") != signature:
                self._lost = True
            else:
                # Another write of this run may have ended meanwhile, and knows better.
                self.generation = record.generation if self.generation == generation else self.generation
        self._refuse_if_lost()
        if record.details.get("beat") != write_id:
            return False
        self._ends = max(self._ends or 0.0, began + self._lease_seconds)
        return True

    def _fields(self, write_id: str) -> dict[str, Any]:
        details = {"step": self.state, "holder": self._signature, "beat": write_id, "facts": self.facts}
        details |= {"live": self.live, "memory": self.memory, "elsewhere": self._elsewhere}
        details |= {"lease_seconds": self._lease_seconds}
        details |= {} if self.live_is_known else {"live_is_known": False}
        return {
            "state": recorded_as(self.state),
            "version": self.version,
            "reason": self.reason,
            "details": details,
            "place": self._place or self._record.place,
            "served": self.facts.get("served", ""),
        }

    def _call(self, call: Callable[[], Deployment]) -> Deployment:
        return within(self.call_seconds, call, f"The registry {self._registry.uri}")

    def __enter__(self) -> Journal:
        self._thread = threading.Thread(target=self._renew, name="rollout-lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(self.call_seconds)
        if self.state not in IDLE and not self._lost:
            with self._lock:
                self._signature = _NOBODY
            with suppress(Exception):  # then the next run waits until the lease expires
                self._write_once()
        self._ends = None

    def _renew(self) -> None:
        """Write the record four times in each period of the lease, until the block ends.

        A storage that fails does no harm until too little of the lease is left, which `check` sees.
        """
        while not self._stop.wait(self._lease_seconds / 4):
            if self.state in IDLE:
                continue
            try:
                self._write_once()
            except LeaseLostError:
                return
            except Exception:
                continue


def longest_call(lease_seconds: float) -> float:
    """Seconds that one call to the registry or to the target may take: a lease is renewed when half of it is left."""
    return max(lease_seconds / 2, _SHORTEST_LIMIT)


def _key(place: Mapping[str, str]) -> str:
    return " ".join(place.values())


def _entry(record: Deployment) -> dict[str, Any]:
    """What is kept of a record, by the names of the journal."""
    names = ("step", "facts", "live", "live_is_known", "memory")
    kept = {name: record.details[name] for name in names if name in record.details}
    return {"state": record.state, "version": record.version, "reason": record.reason, "place": record.place, **kept}
