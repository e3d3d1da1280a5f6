"""A lease on a job that runs elsewhere: whoever waits for the job renews it, and the job ends where nobody does.

The lease is a small object beside what the job reads. The one who waits writes it every 30 s, and only over the
generation that it knows: a pod that was started again, or another run that needs the same job, takes the lease over,
and the one before sees that. The job looks at the object. It ends when it has seen the same generation, look by look,
for longer than the object itself allows.

No two clocks have to agree: each side measures, by a clock of its own, only how long it has itself seen the object
unchanged. Times that a store notes are of no use for that, as those of a folder come from the machines that write. Time
in which the store could not be read does not count, and neither does time in which this machine slept: afterwards the
other side first gets its time to write. A job that is started again begins to count anew.

A job whose containers don't look, as those of batch prediction, is not ended so: there the object says who waits.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial

from kfp_bert_components.cancellation import cancellable
from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.progress import say
from kfp_bert_components.records import build, dump_record, load_record
from kfp_bert_components.sight import Sight
from kfp_bert_components.storage import Generation, Store

LEASE = "lease.json"
_RENEWED_EVERY = 30.0  # seconds
_MISSED = 3  # renewals without one, after which another who waits takes the lease back


@dataclass(frozen=True)
class LeaseRecord:
    """What the object says.

    Attributes:
        holder: Who waits: a pod's name. "" where nobody does any more.
        run: The run that it belongs to; "" where that is not known.
        abandoned_seconds: Seconds without a renewal after which the job ends; 0: never.
        ended: Why the job ended, as a sentence; "" while it goes on.
        token: A name of the lease's holder, different from that of every other one.
    """

    holder: str
    run: str
    abandoned_seconds: float
    ended: str = ""
    token: str = ""


def read_lease(store: Store) -> tuple[LeaseRecord | None, Generation]:
    """What the lease in a store says, and its generation; None and 0 where there is none.

    Raises:
        UserError: The store can't be read, or the object is no lease.
    """
    try:
        blob = store.read(LEASE)
    except NotFoundError:
        return None, 0
    readers = {1: partial(build, LeaseRecord)}
    return load_record(blob.data, store.describe(LEASE), readers, "delete it"), blob.generation


class Lease:
    """The lease, for the one who waits.

    Args:
        store: Where it lies.
        run: The run that this process belongs to; "" where that is not known.
        abandoned_seconds: Seconds without a renewal after which the job ends; 0: never.

    Attributes:
        held: Whether this process holds it, as far as it knows.
    """

    def __init__(self, store: Store, run: str = "", abandoned_seconds: float = 0.0) -> None:
        holder = os.environ.get("KFP_POD_NAME") or f"process {os.getpid()} on {socket.gethostname()}"
        self._store, self._mine = store, LeaseRecord(holder, run, abandoned_seconds, token=uuid.uuid4().hex)
        self._pause = _pause(abandoned_seconds)
        self._generation: Generation = 0
        self._sight = Sight()
        self._due, self._said, self.held = 0.0, False, False

    def take(self) -> None:
        """Get the lease, whoever has it.

        Raises:
            UserError: The store can't be read or written.
        """
        while True:
            found, self._generation = read_lease(self._store)
            with suppress(ConflictError):
                self._write()
                break
        if found and found.holder and found.token != self._mine.token:
            say(f"{_named(found)} waited for it before: going on in its place.")

    def renew(self) -> None:
        """Write the lease again, if it is time to. To be called often.

        Where another one holds it, that one is watched: the lease is taken back when it is not renewed any more. A
        store that can't be reached is said once, and does no harm while it is short.
        """
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._pause
        try:
            if self.held or self._sight.unchanged(self._generation) > _MISSED * self._pause:
                self._write()
            else:
                self._generation = read_lease(self._store)[1]
        except ConflictError:
            self._see_another()
        except UserError as error:
            self._sight.lose()
            if not self._said:
                say(f"That somebody waits for the job can't be written now, and is tried again: {error}")
            self._said = True

    def ended(self) -> str:
        """Why the job ended itself, as a sentence; "" where it did not, or where that can't be read."""
        with suppress(UserError):
            found, _ = read_lease(self._store)
            return found.ended if found else ""
        return ""

    def _write(self) -> None:
        text = dump_record(asdict(self._mine))
        self._generation = self._store.write(LEASE, text.encode(), if_generation=self._generation)
        self.held, self._said, self._due = True, False, time.monotonic() + self._pause

    def _see_another(self) -> None:
        with suppress(UserError):
            found, self._generation = read_lease(self._store)
            held, self.held = self.held, bool(found and found.token == self._mine.token)  # an answer may have been lost
            if held and not self.held and found and found.holder:
                say(f"{_named(found)} waits for the same job, and holds its lease now.")


class Watch:
    """The lease, for the job.

    Attributes:
        ended: Why the job has to end, as a sentence; "" while it does not.
        pause: Seconds between two looks.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._sight, self._last = store, Sight(), LeaseRecord("", "", 0.0)
        self.ended, self.pause = "", 1.0

    def look(self) -> str:
        """Look at the lease, and return `ended`.

        The job ends by a write over the generation that was seen unchanged, so that one who takes the lease over at
        this moment is not overlooked.
        """
        try:
            found, generation = read_lease(self._store)
            self._last = found or self._last  # an object that was removed is one that is not renewed
            self.pause = _pause(self._last.abandoned_seconds)
            unseen, allowed = self._sight.unchanged(generation), self._last.abandoned_seconds
            self.ended = self._last.ended
            if not self.ended and allowed and unseen > allowed:
                why = f"Nobody has waited for this job for {allowed / 60:.3g} minutes (last {_named(self._last)})."
                end = replace(self._last, holder="", ended=why, token="")
                self._store.write(LEASE, dump_record(asdict(end)).encode(), if_generation=generation)
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


def _named(record: LeaseRecord) -> str:
    return f"{record.holder} of run {record.run}" if record.run else record.holder
