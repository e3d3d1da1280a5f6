"""AI Platform as the place where jobs run."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.jobs.labels import JOB_LABEL
from kfp_bert_components.jobs.remote_jobs import JobClient, RemoteJob, patiently

if TYPE_CHECKING:
    from kfp_bert_components.ai_platform.client import AiPlatformClient

ENDED = {
    v1.JobState.JOB_STATE_SUCCEEDED,
    v1.JobState.JOB_STATE_FAILED,
    v1.JobState.JOB_STATE_CANCELLED,
    v1.JobState.JOB_STATE_EXPIRED,
    v1.JobState.JOB_STATE_PARTIALLY_SUCCEEDED,
}


class AiPlatformJobs(JobClient):
    """The jobs of one kind that have one key.

    Args:
        client: Of the project and the region that they run in.
        kind: custom_job or batch_prediction_job.
        key: Their key, the value of a label.
    """

    def __init__(self, client: AiPlatformClient, kind: str, key: str) -> None:
        self._client, self._kind, self._key = client, kind, key

    def find(self) -> list[RemoteJob]:
        wanted = f'labels.{JOB_LABEL}="{self._key}"'
        found = call(self._client, self._kind, "list", parent=self._client.parent, filter=wanted)
        return [_seen(job) for job in sorted(found, key=lambda one: one.name, reverse=True)]

    def create(self, job: Any) -> str:
        fields = {"parent": self._client.parent, self._kind: job}
        name: str = self._client.call(*_method(self._client, self._kind, "create", **fields)).name
        return name

    def get(self, name: str) -> RemoteJob:
        return _seen(self._client.call(*_method(self._client, self._kind, "get", name=name)))

    def cancel(self, name: str) -> None:
        call(self._client, self._kind, "cancel", name=name)


def _seen(job: Any) -> RemoteJob:
    state = v1.JobState(job.state)
    return RemoteJob(
        job.name,
        state.name.removeprefix("JOB_STATE_").lower(),
        over=state in ENDED,
        succeeded=state == v1.JobState.JOB_STATE_SUCCEEDED,
        ending=state == v1.JobState.JOB_STATE_CANCELLING,
        why=job.error.message,
        detail=job,
    )


def call(client: AiPlatformClient, kind: str, verb: str, **fields: Any) -> Any:
    """Call a method of the Job service that can be repeated, such as list_custom_jobs; it is tried for half a minute.

    Args:
        client: Of the project and the region.
        kind: custom_job or batch_prediction_job.
        verb: get, list or cancel.
        **fields: Those of its request.

    Raises:
        UserError: AI Platform refused the call, or can't be reached.
    """
    method, request = _method(client, kind, verb, **fields)
    whole = _all_pages(method) if verb == "list" else method
    return patiently(lambda: client.call(whole, request), "AI Platform")


def _all_pages(method: Callable[..., Any]) -> Callable[..., list[Any]]:
    """A method that lists, as one call for all pages: each of them may fail."""
    return wraps(method)(lambda request, **options: list(method(request, **options)))


def _method(client: AiPlatformClient, kind: str, verb: str, **fields: Any) -> tuple[Any, Any]:
    """A method of the client and its request."""
    name = f"{verb}_{kind}{'s' * (verb == 'list')}"
    request = "".join(part.capitalize() for part in name.split("_"))
    return getattr(client.jobs, name), getattr(v1, f"{request}Request")(**fields)
