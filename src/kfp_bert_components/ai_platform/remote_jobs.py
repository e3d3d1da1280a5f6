"""Jobs of AI Platform that are started once: found again by their key, followed to their end, cancelled."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.progress import say

if TYPE_CHECKING:
    from kfp_bert_components.ai_platform.client import AiPlatformClient

LABEL = "kfp-bert-job"
_ENDED = {
    v1.JobState.JOB_STATE_SUCCEEDED,
    v1.JobState.JOB_STATE_FAILED,
    v1.JobState.JOB_STATE_CANCELLED,
    v1.JobState.JOB_STATE_EXPIRED,
    v1.JobState.JOB_STATE_PARTIALLY_SUCCEEDED,
}


class RemoteJobs:
    """The jobs of one kind that have one key, which stands for all that their outputs depend on.

    Args:
        client: Of the project and the region that they run in.
        kind: custom_job or batch_prediction_job.
        key: Their key, the value of a label.
        has_outputs: Whether a job that succeeded has left its outputs.
    """

    def __init__(
        self, client: AiPlatformClient, kind: str, key: str, has_outputs: Callable[[Any], bool] = lambda job: True
    ) -> None:
        self._client, self._kind, self._key, self._has_outputs = client, kind, key, has_outputs

    def start(self, make: Callable[[], Any]) -> str:
        """The name of the newest job that runs or has left its outputs; else one is made and started."""
        if name := self._find():
            say(f"Continuing with job {name}.")
        else:
            name = self._submit(make())
            say(f"Started job {name}.")
        return name

    def wait(self, name: str, poll_seconds: float, each: Callable[[], None] = lambda: None) -> Any:
        """Wait until a job has succeeded, and return it; `each` is called after each look at it.

        Raises:
            UserError: It ended in another way, or AI Platform can't be reached.
        """
        state = None
        while True:
            seen = self._call("get", name=name)
            if seen.state != state:
                state = seen.state
                say(f"The job is {v1.JobState(state).name.removeprefix('JOB_STATE_').lower()}.")
            each()
            if state in _ENDED:
                break
            time.sleep(poll_seconds)
        if state != v1.JobState.JOB_STATE_SUCCEEDED:
            why = seen.error.message or "its log says why"
            raise UserError(f"Job {name} ended as {v1.JobState(state).name.removeprefix('JOB_STATE_')}: {why}.")
        return seen

    def cancel(self) -> None:
        """Cancel every one that runs; AI Platform may have created one though its answer did not arrive."""
        for job in self._all():
            if job.state not in _ENDED:
                say(f"Cancelling job {job.name}.")
                self._call("cancel", name=job.name)

    def _all(self) -> list[Any]:
        return list(self._call("list", parent=self._client.parent, filter=f'labels.{LABEL}="{self._key}"'))

    def _find(self) -> str:
        for job in sorted(self._all(), key=lambda one: one.name, reverse=True):
            done = job.state == v1.JobState.JOB_STATE_SUCCEEDED and self._has_outputs(job)
            if done or job.state not in _ENDED:
                return job.name
        return ""

    def _submit(self, job: Any) -> str:
        """Create the job and return its name. If an answer is lost, look for the job before creating it again."""
        method, request = self._method("create", parent=self._client.parent, **{self._kind: job})
        for attempt in range(5):
            try:
                return self._client.call(method, request).name
            except TransientError:
                if attempt == 4:
                    raise
                time.sleep(2**attempt / 2)
                if name := self._find():
                    return name
        raise AssertionError

    def _method(self, verb: str, **fields: Any) -> tuple[Any, Any]:
        """A method of the client, such as list_custom_jobs, and its request."""
        name = f"{verb}_{self._kind}{'s' * (verb == 'list')}"
        kind = "".join(part.capitalize() for part in name.split("_"))
        return getattr(self._client.jobs, name), getattr(v1, f"{kind}Request")(**fields)

    def _call(self, verb: str, **fields: Any) -> Any:
        """Call a method that can be repeated; it is tried for about half a minute."""
        method, request = self._method(verb, **fields)
        for attempt in range(7):
            try:
                return self._client.call(method, request)
            except TransientError as error:
                if attempt == 6:
                    raise UserError(
                        f"AI Platform can't be reached: {error}. A job that was started goes on: run again to wait for "
                        "it."
                    ) from error
                time.sleep(2**attempt / 2)
        raise AssertionError
