"""Jobs of AI Platform that are started once: found again by their key, followed to their end, cancelled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform.settings import JOB_LABEL
from kfp_bert_components.cancellation import cancellable, uninterrupted
from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.progress import say

if TYPE_CHECKING:
    from kfp_bert_components.ai_platform.client import AiPlatformClient
    from kfp_bert_components.leases import Lease

ENDED = {
    v1.JobState.JOB_STATE_SUCCEEDED,
    v1.JobState.JOB_STATE_FAILED,
    v1.JobState.JOB_STATE_CANCELLED,
    v1.JobState.JOB_STATE_EXPIRED,
    v1.JobState.JOB_STATE_PARTIALLY_SUCCEEDED,
}
# One that is being cancelled can give nothing any more: nobody waits for it.
_ENDING = {*ENDED, v1.JobState.JOB_STATE_CANCELLING}


class RemoteJobs:
    """The jobs of one kind that have one key, which stands for all that their outputs depend on.

    Args:
        client: Of the project and the region that they run in.
        kind: custom_job or batch_prediction_job.
        key: Their key, the value of a label.
        lease: That this process holds while it waits.
        has_outputs: Whether a job that succeeded has left its outputs.
    """

    def __init__(
        self,
        client: AiPlatformClient,
        kind: str,
        key: str,
        lease: Lease,
        has_outputs: Callable[[Any], bool] = lambda job: True,
    ) -> None:
        self._client, self._kind, self._key, self._has_outputs = client, kind, key, has_outputs
        self._lease, self._name = lease, ""

    @contextmanager
    def cancelled_with_this_process(self) -> Iterator[None]:
        """Cancel the job when this process is told to stop (SIGTERM, Ctrl-C) in the block.

        SIGTERM leaves so little time on Kubeflow that this may fail. Then the lease ends the job, where it looks at it.
        """
        with cancellable():
            try:
                yield
            except BaseException as error:
                if not isinstance(error, Exception):
                    self._cancel()
                raise

    def start(self, make: Callable[[], Any]) -> str:
        """The name of the newest job that runs or has left its outputs; else one is made and started."""
        if name := self._find():
            self._lease.take()
            self._name = name
            say(f"Continuing with job {name}.")
        else:
            job = make()
            self._lease.take()
            name = self._submit(job)
            say(f"Started job {name}.")
        return name

    def wait(self, name: str, poll_seconds: float, each: Callable[[], None] = lambda: None) -> Any:
        """Wait until a job has succeeded, and return it; `each` is called after each look at it.

        Raises:
            UserError: It ended in another way, or AI Platform can't be reached.
        """
        state = None
        while True:
            # A look refreshes the token some minutes before it expires: what cancels the job finds one that is good.
            seen = self._call("get", name=name)
            if seen.state != state:
                state = seen.state
                say(f"The job is {v1.JobState(state).name.removeprefix('JOB_STATE_').lower()}.")
            each()
            if state in ENDED:
                break
            self._lease.renew()
            time.sleep(poll_seconds)
        if state != v1.JobState.JOB_STATE_SUCCEEDED:
            why = seen.error.message or self._lease.ended().rstrip(".") or "its log says why"
            raise UserError(f"Job {name} ended as {v1.JobState(state).name.removeprefix('JOB_STATE_')}: {why}.")
        return seen

    def _cancel(self) -> None:
        """Cancel the job, unless another one holds its lease and so waits for it.

        It is one request where the name of the job is known. AI Platform may also have created one though its answer
        did not arrive.
        """
        if not self._lease.held:
            return
        for name in [self._name] if self._name else self._running():
            self._call("cancel", name=name)
            with suppress(OSError):  # nobody reads it any more where the launcher was ended too
                say(f"Cancelled job {name}.")

    def _running(self) -> list[str]:
        return [job.name for job in self._all() if job.state not in _ENDING]

    def _all(self) -> list[Any]:
        return list(self._call("list", parent=self._client.parent, filter=f'labels.{JOB_LABEL}="{self._key}"'))

    def _find(self) -> str:
        for job in sorted(self._all(), key=lambda one: one.name, reverse=True):
            done = job.state == v1.JobState.JOB_STATE_SUCCEEDED and self._has_outputs(job)
            if done or job.state not in _ENDING:
                return job.name
        return ""

    def _submit(self, job: Any) -> str:
        """Create the job and return its name. If an answer is lost, look for the job before creating it again."""
        fields = {"parent": self._client.parent, self._kind: job}
        method, request = _method(self._client, self._kind, "create", **fields)
        for attempt in range(5):
            try:
                with uninterrupted():
                    self._name = self._client.call(method, request).name
                return self._name
            except TransientError:
                if attempt == 4:
                    raise
                time.sleep(2**attempt / 2)
                if name := self._find():
                    self._name = name
                    return name
        raise AssertionError

    def _call(self, verb: str, **fields: Any) -> Any:
        return call(self._client, self._kind, verb, **fields)


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
    for attempt in range(7):
        try:
            return client.call(method, request)
        except TransientError as error:
            if attempt == 6:
                raise UserError(
                    f"AI Platform can't be reached: {error}. A job that was started goes on for a while: run again to "
                    "wait for it."
                ) from error
            time.sleep(2**attempt / 2)
    raise AssertionError


def _method(client: AiPlatformClient, kind: str, verb: str, **fields: Any) -> tuple[Any, Any]:
    """A method of the client and its request."""
    name = f"{verb}_{kind}{'s' * (verb == 'list')}"
    request = "".join(part.capitalize() for part in name.split("_"))
    return getattr(client.jobs, name), getattr(v1, f"{request}Request")(**fields)
