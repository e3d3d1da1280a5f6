"""Our jobs that AI Platform runs: which there are, whose they are, and their end."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform.remote_jobs import ENDED, call
from kfp_bert_components.errors import UserError
from kfp_bert_components.jobs.labels import JOB_LABEL, RUN_LABEL
from kfp_bert_components.jobs.running_jobs import JobPlace, RunningJob, with_lease

if TYPE_CHECKING:
    from kfp_bert_components.ai_platform.client import AiPlatformClient

_KINDS = {"custom_job": "customJobs", "batch_prediction_job": "batchPredictionJobs"}


def jobs_of_region(project: str, location: str, api_endpoint: str = "") -> JobPlace:
    """The jobs of a project and region; `api_endpoint` is another address of the API, for tests."""
    from kfp_bert_components.ai_platform.client import AiPlatformClient

    client = cache(partial(AiPlatformClient, project, location, api_endpoint))
    options = f"--project {project} --location {location}"
    return JobPlace(options, lambda: running_jobs(client()), lambda name: cancel_job(client(), name))


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
    run = job.labels.get(RUN_LABEL, "")
    state = v1.JobState(job.state).name.removeprefix("JOB_STATE_").lower()
    return with_lease(RunningJob(job.name, state, job.create_time, run, "", started_by=run, place=_place(job)))


def _place(job: Any) -> str:
    """The folder of a job's lease, beside what it reads."""
    try:
        if isinstance(job, v1.CustomJob):
            return str(job.job_spec.worker_pool_specs[0].container_spec.command[-1])
        return str(job.input_config.gcs_source.uris[0]).rpartition("/")[0]
    except IndexError:
        return ""
