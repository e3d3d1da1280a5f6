"""Jobs of ours that are not over, whoever runs them: whose they are, and how they are ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from kfp_bert_components.errors import UserError
from kfp_bert_components.jobs.labels import RUN_LABEL, run_label, run_labels
from kfp_bert_components.leases import named, read_lease, take_out
from kfp_bert_components.storage import Store, open_store, parse_address


@dataclass(frozen=True)
class RunningJob:
    """A job of ours that is not over.

    Attributes:
        name: Name of the job, by which it is cancelled.
        state: Such as "running", "pending", or "cancelling".
        created: When it was created, by the clock of who runs it.
        run: The run that waits for it, of several the one that said so last; the one that started it where its lease
            names none, or can't be read. "" where that is not known.
        holder: Who waits for it: a pod. "" where nobody does, or where its lease can't be read.
        others: The other runs that wait for it.
        started_by: The run that started it; "" where that is not known.
        place: Its staging folder, where its lease lies; "" where that is not known.
        unread: Why its lease can't be read; "" where it can.
    """

    name: str
    state: str
    created: datetime
    run: str
    holder: str
    others: tuple[str, ...] = ()
    started_by: str = ""
    place: str = ""
    unread: str = ""

    def belongs_to(self, runs: Iterable[str]) -> bool:
        """Whether it is a job of one of these runs; they can be names of the same run."""
        return any(_is_one_of(run, runs) for run in (self.run, *self.others))

    def leave(self, runs: Iterable[str]) -> list[str]:
        """Take those who waited for these runs out of its lease; who else waits for the job, in words.

        Raises:
            UserError: The lease can't be read or written.
        """
        if not self.place:
            return []
        others = take_out(_store(self.place), lambda one: _is_one_of(one.run or self.started_by, runs))
        return [named(one) for one in others]


@dataclass(frozen=True)
class JobPlace:
    """Where jobs run.

    Attributes:
        options: The options of `kfp-bert jobs` that say it.
        running: Gives all jobs of ours there that are not over, oldest first. Raises UserError, also where the place is
            none.
        cancel: Ends the job of a name. Raises UserError.
    """

    options: str
    running: Callable[[], list[RunningJob]]
    cancel: Callable[[str], None]


def with_lease(job: RunningJob) -> RunningJob:
    """A job, of which the label and the folder are known, with what its lease says."""
    if not job.place:
        return job
    try:
        lease, _ = read_lease(_store(job.place))
    except UserError as error:
        return replace(job, unread=str(error))
    if not (lease and lease.last):
        return job
    runs = list(dict.fromkeys(one.run or job.started_by for one in reversed(lease.everybody)))
    return replace(job, run=runs[0], others=tuple(runs[1:]), holder=lease.last.holder)


def _store(place: str) -> Store:
    """The staging folder of a job; UserError where it is on a volume that is not mounted here."""
    address = parse_address(place)
    if address.is_local and not address.path.is_dir():
        raise UserError(f"{place} is no folder here: mount the volume of job_staging there.")
    return open_store(address)


def _is_one_of(run: str, runs: Iterable[str]) -> bool:
    """Whether a run is called like one of these, in a label."""
    return bool(run) and run_label(run)[RUN_LABEL] in set().union(*map(run_labels, filter(None, runs)))
