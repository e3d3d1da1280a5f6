"""What the object of a lease says, and how it is read and changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from kfp_bert_components.errors import ConflictError, NotFoundError
from kfp_bert_components.records import build, dump_record, load_record
from kfp_bert_components.storage import Generation, Store

LEASE = "lease.json"
FORMAT = 2
_RENEWED_EVERY = 30.0  # seconds


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


def named(waiter: Waiter | None) -> str:
    """Who it is, in words."""
    if waiter is None:
        return "nobody"
    return f"{waiter.holder} of run {waiter.run}" if waiter.run else waiter.holder


def pause_of(abandoned_seconds: float) -> float:
    """Seconds between two renewals, and between two looks."""
    return min(_RENEWED_EVERY, abandoned_seconds / 10 or _RENEWED_EVERY)


def _of_format_1(fields: dict[str, Any]) -> LeaseRecord:
    """There one held the lease at a time."""
    holder, run, seconds = fields["holder"], fields["run"], fields["abandoned_seconds"]
    found = {"holder": holder, "run": run, "abandoned_seconds": seconds, "token": fields.get("token", "")}
    return LeaseRecord((build(Waiter, found),) if holder else (), ended=fields.get("ended", ""))


def _of_format_2(fields: dict[str, Any]) -> LeaseRecord:
    waiters, starter = tuple(build(Waiter, one) for one in fields.pop("waiters")), fields.pop("starter")
    return replace(build(LeaseRecord, fields), waiters=waiters, starter=build(Waiter, starter) if starter else None)
