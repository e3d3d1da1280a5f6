"""The lease, for the job."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from kfp_bert_components.cancellation import cancellable
from kfp_bert_components.errors import ConflictError, UserError
from kfp_bert_components.leases.record import LeaseRecord, named, pause_of, read_lease, write_lease
from kfp_bert_components.progress import say
from kfp_bert_components.sight import Sight
from kfp_bert_components.storage import Generation, Store


class Watch:
    """The lease, for the job.

    Attributes:
        ended: Why the job has to end, as a sentence; "" while it does not.
        pause: Seconds between two looks.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._last = store, LeaseRecord()
        self._sight, self._unwritten = Sight(), Sight()
        self.ended, self.pause = "", 1.0

    def look(self) -> str:
        """Look at the lease, and return `ended`.

        The job ends by a write over the generation that was seen unchanged, so that one who begins to wait for it at
        this moment is not overlooked. Where that write fails for as long again, as one who was stopped keeps the lock
        of a folder, the job ends without it: who can write would have been seen.
        """
        try:
            found, generation = read_lease(self._store)
        except UserError:  # out of reach, which is no reason to end
            self._sight.lose()
            return self.ended
        self._last = found or self._last  # an object that was removed is one that is not renewed
        allowed = self._last.abandoned_seconds
        self.pause = pause_of(allowed)
        unseen = self._sight.unchanged(generation)
        self.ended = self._last.ended
        if not self.ended and allowed and unseen > allowed:
            why = f"Nobody has waited for this job for {allowed / 60:.3g} minutes (last {named(self._last.last)})."
            self._unwritten.unchanged(generation)  # from here on, as a try may take long
            if self._write(why, generation) or self._unwritten.unchanged(generation) > allowed:
                self.ended = why
        return self.ended

    def _write(self, why: str, generation: Generation) -> bool:
        """Write why the job ends; whether that could be done."""
        try:
            write_lease(self._store, replace(self._last, waiters=(), starter=None, ended=why), generation)
        except ConflictError:
            self._unwritten.lose()
            return False
        except UserError:
            return False
        return True


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
