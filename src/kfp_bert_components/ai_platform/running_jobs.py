"""Our jobs that AI Platform runs: which there are, whose they are, and their end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform.remote_jobs import ENDED, call
from kfp_bert_components.errors import UserError
from kfp_bert_components.jobs.labels import JOB_LABEL, RUN_LABEL, run_label, run_labels
from kfp_bert_components.leases import LeaseRecord, read_lease
from kfp_bert_components.storage import open_store

if TYPE_CHECKING:
    from kfp_bert_components.ai_platform.client import AiPlatformClient

_KINDS = {"custom_job": "customJobs", "batch_prediction_job": "batchPredictionJobs"}


@dataclass(frozen=True)
class RunningJob:
    """A job of ours that is not over.

    Attributes:
        name: Full name of the job.
        state: Such as "running" or "pending".
        created: When it was created, by AI Platform's clock.
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


def running_jobs(client: AiPlatformClient, key: str = "") -> list[RunningJob]:
    """All jobs of ours in a project and region that are not over, oldest first.

    Args:
        client: Of the project and the region.
        key: Only those with this key, which is a hash of all that their outputs depend on.

    Raises:
        UserError: AI Platform refused the call, or can't be reached.
    """
    wanted = f'labels.{JOB_LABEL}="{key}"' if key else f"labels.{JOB_LABEL}:*"
    states = [f'state!="{v1.JobState(state).name}"' for state in sorted(ENDED)]
    request = {"parent": client.parent, "filter": " AND ".join([wanted, *states])}
    jobs = [job for kind in _KINDS for job in call(client, kind, "list", **request)]
    return sorted(map(_running, jobs), key=lambda job: job.created)


def cancel_job(client: AiPlatformClient, name: str) -> None:
    """Ask AI Platform to cancel a job.

    Raises:
        UserError: The name is none of a job, AI Platform refused the call, or can't be reached.
    """
    for kind, collection in _KINDS.items():
        if f"/{collection}/" in name:
            call(client, kind, "cancel", name=name)
            return
    raise UserError(f"{name} is no job: expected {client.parent}/customJobs/NUMBER, as `kfp-bert jobs list` shows it.")


def _running(job: Any) -> RunningJob:
    lease = _lease(job)
    run = lease.run if lease and lease.run else job.labels.get(RUN_LABEL, "")
    state = v1.JobState(job.state).name.removeprefix("JOB_STATE_").lower()
    return RunningJob(job.name, state, job.create_time, run, lease.holder if lease else "")


def _lease(job: Any) -> LeaseRecord | None:
    """The lease on a job, beside what it reads; None where it has none, or where it can't be read."""
    try:
        if isinstance(job, v1.CustomJob):
            place = job.job_spec.worker_pool_specs[0].container_spec.command[-1]
        else:
            place = job.input_config.gcs_source.uris[0].rpartition("/")[0]
        return read_lease(open_store(place))[0]
    except (IndexError, UserError):
        return None
