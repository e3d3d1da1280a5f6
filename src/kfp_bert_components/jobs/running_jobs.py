"""Jobs of ours that are not over, whoever runs them: whose they are, and how they are ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from kfp_bert_components.errors import UserError
from kfp_bert_components.jobs.labels import RUN_LABEL, run_label, run_labels
from kfp_bert_components.leases import LeaseRecord, read_lease
from kfp_bert_components.storage import open_store


@dataclass(frozen=True)
class RunningJob:
    """A job of ours that is not over.

    Attributes:
        name: Name of the job, by which it is cancelled.
        state: Such as "running", "pending", or "cancelling".
        created: When it was created, by the clock of who runs it.
        run: The run that waits for it, or waited last; the one that started it where no lease can be read. "" where
            that is not known.
        holder: Who holds its lease: a pod. "" where nobody does, or where it can't be read.
    """

    name: str
    state: str
    created: datetime
    run: str
    holder: str

    def belongs_to(self, runs: Iterable[str]) -> bool:
        """Whether it is a job of one of these runs; they can be names of the same run."""
        return bool(self.run) and run_label(self.run)[RUN_LABEL] in set().union(*map(run_labels, filter(None, runs)))


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


def lease_of(place: str) -> LeaseRecord | None:
    """The lease on the job that works on a staging folder; None where it has none, or where it can't be read."""
    try:
        return read_lease(open_store(place))[0]
    except UserError:
        return None
