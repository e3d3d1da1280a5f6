"""A lease on a job that runs elsewhere: whoever waits for the job renews it, and the job ends where nobody does.

The lease is a small object beside what the job reads. It names all who wait for the job, the job itself and, while
there is none yet, who is about to start it: so one key has one job, and who is told to stop leaves the job to the
others. Each of them writes it every 30 s, by compare-and-swap, with a count of its own that grows. The job looks at the
object. It ends when it has seen the same generation, look by look, for longer than those allow who are named in it.

No two clocks have to agree: each side measures, by a clock of its own, only how long it has itself seen the object, or
the count of another one, unchanged. Times that a store notes are of no use for that, as those of a folder come from the
machines that write. Time in which the store could not be read does not count, and neither does time in which this
machine slept: afterwards the other side first gets its time to write. A job that is started again begins to count anew.

A job whose containers don't look, as those of batch prediction, is not ended so: there the object says who waits.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from kfp_bert_components.cancellation import cancellable
from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.progress import say
from kfp_bert_components.records import build, dump_record, load_record
from kfp_bert_components.sight import Sight
from kfp_bert_components.storage import Generation, Store

LEASE = "lease.json"
FORMAT = 2
_RENEWED_EVERY = 30.0  # seconds
_MISSED = 3  # renewals without one, after which somebody is taken for gone


@dataclass(frozen=True)
class Waiter:
    """One who waits for the job, or is about to start it.

    Attributes:
        holder: Its pod's name.
        run: The run that it belongs to; "" where that is not known.
        abandoned_seconds: Seconds without a renewal after which the job ends; 0: never.
        token: A name that no other one has.
        renewals: How often it has renewed the lease.
    """

    holder: str
    run: str
    abandoned_seconds: float
    token: str
    renewals: int = 0


@dataclass(frozen=True)
class LeaseRecord:
    """What the object says.

    Attributes:
        waiters: Who waits for the job, the one who has renewed the lease last at the end.
        starter: Who is about to start a job, which no other one does meanwhile.
        job: Name of the job; "" where that is not known.
        ended: Why the job ended, as a sentence; "" while it goes on.
        past: Why the job before it ended itself, by its name.
    """

    waiters: tuple[Waiter, ...] = ()
    starter: Waiter | None = None
    job: str = ""
    ended: str = ""
    past: Mapping[str, str] = field(default_factory=dict)

    @property
    def everybody(self) -> tuple[Waiter, ...]:
        """Those who wait and the one who starts a job."""
        return (*self.waiters, *([self.starter] if self.starter else []))

    @property
    def abandoned_seconds(self) -> float:
        """Seconds without a renewal after which the job ends, as the most patient of them wants it; 0: never."""
        each = [one.abandoned_seconds for one in self.everybody]
        return 0.0 if 0.0 in each else max(each, default=0.0)

    @property
    def last(self) -> Waiter | None:
        """Who has renewed it last; None where nobody is named."""
        return self.everybody[-1] if self.everybody else None


def read_lease(store: Store) -> tuple[LeaseRecord | None, Generation]:
    """What the lease in a store says, and its generation; None and 0 where there is none.

    Raises:
        UserError: The store can't be read, or the object is no lease.
    """
    try:
        blob = store.read(LEASE)
    except NotFoundError:
        return None, 0
    readers = {1: _of_format_1, FORMAT: _of_format_2}
    return load_record(blob.data, store.describe(LEASE), readers, "delete it"), blob.generation


def write_lease(store: Store, record: LeaseRecord, if_generation: Generation) -> None:
    """Write the lease over the generation that was read; ConflictError where it is another one by now."""
    store.write(LEASE, dump_record(asdict(record), FORMAT).encode(), if_generation=if_generation)


def change_lease(store: Store, change: Callable[[LeaseRecord], LeaseRecord | None]) -> LeaseRecord:
    """Change the lease, whoever else does that at the same time.

    Args:
        store: Where it lies.
        change: Gives the record to write for the one that is there; None to leave it as it is. Called again where
            somebody was faster.

    Returns:
        What it says then.

    Raises:
        UserError: The store can't be read or written.
    """
    while True:
        found, generation = read_lease(store)
        record = found or LeaseRecord()
        wanted = change(record)
        if wanted is None:
            return record
        with suppress(ConflictError):
            write_lease(store, wanted, generation)
            return wanted


def take_out(store: Store, is_over: Callable[[Waiter], bool]) -> list[Waiter]:
    """Take those who wait no more out of the lease, if others wait for the job too.

    Args:
        store: Where it lies.
        is_over: Whether one waits no more, as its run is over.

    Returns:
        The others. Where there are none the lease stays as it is.

    Raises:
        UserError: The store can't be read or written.
    """
    others: list[Waiter] = []

    def without(found: LeaseRecord) -> LeaseRecord | None:
        others[:] = [one for one in found.waiters if not is_over(one)]
        changed = replace(found, waiters=tuple(others))
        return changed if others and changed != found else None

    change_lease(store, without)
    return others


class Lease:
    """The lease, for one who waits.

    Args:
        store: Where it lies.
        run: The run that this process belongs to; "" where that is not known.
        abandoned_seconds: Seconds without a renewal after which the job ends; 0: never.
    """

    def __init__(self, store: Store, run: str = "", abandoned_seconds: float = 0.0) -> None:
        holder = os.environ.get("KFP_POD_NAME") or f"process {os.getpid()} on {socket.gethostname()}"
        self._store, self._mine = store, Waiter(holder, run, abandoned_seconds, uuid.uuid4().hex)
        self._pause, self._due = _pause(abandoned_seconds), 0.0
        self._waits = self._starts = self._unwritten = self._in_company = False
        self._start, self._sights, self._met = Sight(), defaultdict[str, Sight](Sight), set[str]()

    def look(self) -> tuple[LeaseRecord, Generation]:
        """What the lease says, and its generation.

        Raises:
            UserError: The store can't be read.
        """
        found, generation = read_lease(self._store)
        return found or LeaseRecord(), generation

    def claim(self, found: LeaseRecord, generation: Generation) -> bool:
        """Get the right to start a job, which one has at a time.

        Whoever has it renews the lease as those do who wait. Where it is not renewed any more, the next one gets it.

        Args:
            found: What the lease said before it was seen that there is no job.
            generation: Its generation then.

        Returns:
            Whether this process has it now. Otherwise another one does, or the lease was changed meanwhile.

        Raises:
            UserError: The store can't be read or written.
        """
        unseen, starter = self._start.unchanged(generation), found.starter
        if starter and not self._is_starter(found) and unseen <= _MISSED * _pause(starter.abandoned_seconds):
            return False
        with suppress(ConflictError):
            write_lease(self._store, replace(found, starter=self._mine), generation)
            self._starts = True
            self._renewed()
        return self._starts

    def confirm(self) -> bool:
        """Whether this process still has the right to start a job, said anew; what the last job left is put aside.

        Raises:
            UserError: The store can't be read or written.
        """

        def mine(found: LeaseRecord) -> LeaseRecord | None:
            past = {found.job: found.ended} if found.ended else found.past
            fresh = LeaseRecord(starter=self._mine, past=past)
            return fresh if self._is_starter(found) else None

        self._starts = self._is_starter(change_lease(self._store, mine))
        self._renewed()
        return self._starts

    def give_back(self) -> None:
        """Give the right to start a job back, if this process has it; what can't be written gets old."""
        if self._starts:
            self._starts = False
            with suppress(UserError):
                change_lease(self._store, self._not_starting)

    def take(self, job: str = "", *, started: bool = False) -> bool:
        """Be one of those who wait for a job.

        Args:
            job: The job's name.
            started: Whether this process has just started it, by the right to do so.

        Returns:
            False where the job has ended itself, or another process has started another one.

        Raises:
            UserError: The store can't be read or written.
        """

        def with_me(found: LeaseRecord) -> LeaseRecord | None:
            if started and not self._is_starter(found) and found.job != job:
                return None
            if found.ended:
                return None
            starter = None if self._is_starter(found) else found.starter
            return replace(self._among(found), job=job or found.job, starter=starter)

        found = change_lease(self._store, with_me)
        self._waits = self._mine.token in [one.token for one in found.waiters]
        self._starts = False
        self._renewed()
        self._meet(found, "waits for it too, or did until now.")
        return self._waits

    @contextmanager
    def renewed_meanwhile(self) -> Iterator[None]:
        """Renew the lease in the background while the block runs, from when this process takes or claims it."""
        over = threading.Event()

        def keep() -> None:
            while not over.wait(self._pause / 10):
                self.renew()

        thread = threading.Thread(target=keep, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(1.0)  # one that hangs does no harm

    def renew(self) -> None:
        """Write the lease again, if it is time to. To be called often.

        Those who do not renew it any more are left out then. A store that can't be reached is said once, and does no
        harm while it is short.
        """
        if not (self._waits or self._starts) or time.monotonic() < self._due:
            return
        self._mine = replace(self._mine, renewals=self._mine.renewals + 1)
        try:
            found = change_lease(self._store, self._again)
            self._renewed()
            self._meet(found, "waits for the same job now, too.")
        except (UserError, OSError) as error:  # without this thread the job would end
            self._due = time.monotonic() + self._pause
            self._sights.clear()
            if not self._unwritten:
                say(f"That somebody waits for the job can't be written now, and is tried again: {error}")
            self._unwritten = True

    def leave(self) -> bool:
        """Wait no longer.

        Returns:
            Whether the job is to be cancelled: this process waited for it, or was about to start it, and no other one
            waits for it, as far as that can be read now.
        """
        mine, self._waits = self._waits or self._starts, False

        def without_me(found: LeaseRecord) -> LeaseRecord | None:
            others = self._others(found)
            self._in_company = bool(others)
            starter = None if self._is_starter(found) else found.starter
            return replace(found, waiters=others, starter=starter) if others else None

        with suppress(UserError):
            change_lease(self._store, without_me)
        return mine and not self._in_company

    def ended(self, job: str) -> str:
        """Why a job ended itself, as a sentence; "" where it did not, or where that can't be read."""
        with suppress(UserError):
            found, _ = self.look()
            return found.past.get(job, "") or (found.ended if found.job in ("", job) else "")
        return ""

    def _not_starting(self, found: LeaseRecord) -> LeaseRecord | None:
        return replace(found, starter=None) if self._is_starter(found) else None

    def _again(self, found: LeaseRecord) -> LeaseRecord | None:
        """The record with this process's count. Another thread may have left meanwhile."""
        if self._is_starter(found) and not self._waits:
            return replace(found, starter=self._mine)
        return self._among(found) if self._waits else None

    def _among(self, found: LeaseRecord) -> LeaseRecord:
        """The record with this process among those who wait, and without those who are gone."""
        return replace(found, waiters=(*self._others(found), self._mine))

    def _others(self, found: LeaseRecord) -> tuple[Waiter, ...]:
        """The others who wait, without those who are gone."""
        return tuple(one for one in found.waiters if one.token != self._mine.token and not self._is_gone(one))

    def _is_gone(self, one: Waiter) -> bool:
        return self._sights[one.token].unchanged(one.renewals) > _MISSED * _pause(one.abandoned_seconds)

    def _is_starter(self, found: LeaseRecord) -> bool:
        return bool(found.starter and found.starter.token == self._mine.token)

    def _renewed(self) -> None:
        self._unwritten, self._due = False, time.monotonic() + self._pause

    def _meet(self, found: LeaseRecord, does: str) -> None:
        """Say who else waits, once of each."""
        others = [one for one in found.waiters if one.token != self._mine.token]
        for one in others:
            if one.token not in self._met:
                self._met.add(one.token)
                say(f"{named(one)} {does}")
        self._in_company = bool(others)


class Watch:
    """The lease, for the job.

    Attributes:
        ended: Why the job has to end, as a sentence; "" while it does not.
        pause: Seconds between two looks.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._sight, self._last = store, Sight(), LeaseRecord()
        self.ended, self.pause = "", 1.0

    def look(self) -> str:
        """Look at the lease, and return `ended`.

        The job ends by a write over the generation that was seen unchanged, so that one who begins to wait for it at
        this moment is not overlooked.
        """
        try:
            found, generation = read_lease(self._store)
            self._last = found or self._last  # an object that was removed is one that is not renewed
            allowed = self._last.abandoned_seconds
            self.pause = _pause(allowed)
            unseen = self._sight.unchanged(generation)
            self.ended = self._last.ended
            if not self.ended and allowed and unseen > allowed:
                last = named(self._last.last)
                why = f"Nobody has waited for this job for {allowed / 60:.3g} minutes (last {last})."
                write_lease(self._store, replace(self._last, waiters=(), starter=None, ended=why), generation)
                self.ended = why
        except ConflictError:
            pass
        except UserError:  # out of reach, which is no reason to end
            self._sight.lose()
        return self.ended


@contextmanager
def ended_when_abandoned(
    store: Store, cancel: Callable[[], None] = lambda: None, time_to_end: float = 600.0
) -> Iterator[None]:
    """End the block, and this process with it, when nobody waits for the job any more. For the main thread of a job.

    The process sends itself SIGTERM, on which training writes a checkpoint and exits; all else exits at once.

    Args:
        store: Where the lease lies. Without a lease the block is never ended.
        cancel: Called then, so that the job ends as one that was cancelled and not as one that failed.
        time_to_end: Seconds after which the process is killed where it has not ended by itself.

    Raises:
        SystemExit: With code 143, at SIGTERM.
    """
    watch, over = Watch(store), threading.Event()

    def keep_looking() -> None:
        while not watch.look():
            if over.wait(watch.pause):
                return
        say(f"{watch.ended} It ends.")
        os.kill(os.getpid(), signal.SIGTERM)
        if not over.wait(time_to_end):
            cancel()
            os._exit(128 + signal.SIGTERM)

    try:
        with cancellable():
            threading.Thread(target=keep_looking, name="lease", daemon=True).start()
            yield
    except BaseException:
        over.set()
        if watch.ended:
            cancel()
        raise
    finally:
        over.set()


def _pause(abandoned_seconds: float) -> float:
    """Seconds between two renewals, and between two looks."""
    return min(_RENEWED_EVERY, abandoned_seconds / 10 or _RENEWED_EVERY)


def named(waiter: Waiter | None) -> str:
    """Who it is, in words."""
    if waiter is None:
        return "nobody"
    return f"{waiter.holder} of run {waiter.run}" if waiter.run else waiter.holder


def _of_format_1(fields: dict[str, Any]) -> LeaseRecord:
    """There one held the lease at a time."""
    holder, run, seconds = fields["holder"], fields["run"], fields["abandoned_seconds"]
    found = {"holder": holder, "run": run, "abandoned_seconds": seconds, "token": fields.get("token", "")}
    return LeaseRecord((build(Waiter, found),) if holder else (), ended=fields.get("ended", ""))


def _of_format_2(fields: dict[str, Any]) -> LeaseRecord:
    waiters, starter = tuple(build(Waiter, one) for one in fields.pop("waiters")), fields.pop("starter")
    return replace(build(LeaseRecord, fields), waiters=waiters, starter=build(Waiter, starter) if starter else None)
