"""The lease, for one who waits for a job or starts it."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from kfp_bert_components.errors import ConflictError, UserError
from kfp_bert_components.leases.record import (
    LeaseRecord,
    Waiter,
    change_lease,
    named,
    pause_of,
    read_lease,
    write_lease,
)
from kfp_bert_components.progress import say
from kfp_bert_components.sight import Sight
from kfp_bert_components.storage import Generation, Store

_MISSED = 3  # renewals without one, after which somebody is taken for gone


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
        self._pause, self._due = pause_of(abandoned_seconds), 0.0
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
        if starter and not self._is_starter(found) and unseen <= _MISSED * pause_of(starter.abandoned_seconds):
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
        return self._sights[one.token].unchanged(one.renewals) > _MISSED * pause_of(one.abandoned_seconds)

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
