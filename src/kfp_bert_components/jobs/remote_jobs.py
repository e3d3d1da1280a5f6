"""Jobs that run elsewhere and are started once: found again, followed to their end, ended with the one who waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from kfp_bert_components.cancellation import cancellable, uninterrupted
from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.progress import say

if TYPE_CHECKING:
    from kfp_bert_components.leases import Lease

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class RemoteJob:
    """A job as its API shows it.

    Attributes:
        name: Its name.
        state: In lower case, such as "running".
        over: Whether it has ended.
        succeeded: Whether it has ended well.
        ending: Whether it was told to end: it can give nothing any more.
        why: Why it did not end well, "" where the API does not say it.
        detail: The object of the API.
    """

    name: str
    state: str
    over: bool = False
    succeeded: bool = False
    ending: bool = False
    why: str = ""
    detail: Any = None


class JobClient(Protocol):
    """The API that runs the jobs of one key, which stands for all that their outputs depend on.

    All but `create` may be called again after a TransientError, and do that themselves: they raise a UserError where
    the API refuses a call or can't be reached.
    """

    def find(self) -> Sequence[RemoteJob]:
        """All jobs with the key, the newest first."""

    def create(self, job: Any) -> str:
        """Start a job, and return its name. After a TransientError it may have started all the same."""

    def get(self, name: str) -> RemoteJob:
        """Look at a job."""

    def cancel(self, name: str) -> None:
        """End a job, by one request where the API is well."""


class RemoteJobs:
    """The jobs of one key.

    Args:
        client: The API that runs them.
        lease: That this process holds while it waits.
        has_outputs: Whether a job that succeeded has left its outputs.
    """

    def __init__(
        self, client: JobClient, lease: Lease, has_outputs: Callable[[RemoteJob], bool] = lambda job: True
    ) -> None:
        self._client, self._has_outputs = client, has_outputs
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
        """The name of the newest job that runs or has left its outputs; else one is made and started.

        Args:
            make: Makes a job. None says that another one has started a job meanwhile, which is then looked for.
        """
        while True:
            if name := self._find():
                self._lease.take()
                self._name = name
                say(f"Continuing with job {name}.")
                return name
            if job := make():
                self._lease.take()
                name = self._submit(job)
                say(f"Started job {name}.")
                return name

    def wait(self, name: str, poll_seconds: float, each: Callable[[RemoteJob], None] = lambda job: None) -> RemoteJob:
        """Wait until a job has succeeded, and return it; `each` is called after each look at it.

        Raises:
            UserError: It ended in another way, or the API can't be reached.
        """
        state = ""
        while True:
            # A look refreshes the token some minutes before it expires: what cancels the job finds one that is good.
            seen = self._client.get(name)
            if seen.state != state:
                state = seen.state
                say(f"The job is {state}.")
            each(seen)
            if seen.over:
                break
            self._lease.renew()
            time.sleep(poll_seconds)
        if not seen.succeeded:
            why = self._lease.ended() or seen.why or "its log says why"
            raise UserError(f"Job {name} ended as {state.upper()}: {why.rstrip('.')}.")
        return seen

    def _cancel(self) -> None:
        """Cancel the job, unless another one holds its lease and so waits for it.

        It is one request where the name of the job is known. The API may also have created one though its answer did
        not arrive.
        """
        if not self._lease.held:
            return
        for name in [self._name] if self._name else self._running():
            self._client.cancel(name)
            with suppress(OSError):  # nobody reads it any more where the launcher was ended too
                say(f"Cancelled job {name}.")

    def _running(self) -> list[str]:
        return [job.name for job in self._client.find() if not (job.over or job.ending)]

    def _find(self) -> str:
        for job in self._client.find():
            done = job.succeeded and self._has_outputs(job)
            if done or not (job.over or job.ending):
                return job.name
        return ""

    def _submit(self, job: Any) -> str:
        """Create the job and return its name. If an answer is lost, look for the job before creating it again."""
        for attempt in range(5):
            try:
                with uninterrupted():
                    self._name = self._client.create(job)
                return self._name
            except TransientError:
                if attempt == 4:
                    raise
                time.sleep(2**attempt / 2)
                if name := self._find():
                    self._name = name
                    return name
        raise AssertionError


def patiently(call: Callable[[], Answer], api: str) -> Answer:
    """Make a call that can be repeated; it is tried for half a minute.

    Args:
        call: The call.
        api: What is called, for the message.

    Raises:
        UserError: The call was refused, or the API can't be reached.
    """
    for attempt in range(7):
        try:
            return call()
        except TransientError as error:
            if attempt == 6:
                raise UserError(
                    f"{api} can't be reached: {error}. A job that was started goes on for a while: run again to wait "
                    "for it."
                ) from error
            time.sleep(2**attempt / 2)
    raise AssertionError


def check_abandoned_minutes(minutes: float, poll_seconds: float) -> None:
    """UserError where a job would take one who waits for one who is gone."""
    shortest = 10 * poll_seconds / 60  # so that some renewals can be missed
    if 0 < minutes < shortest:
        raise UserError(f"job_abandoned_minutes is {minutes:g}: give {shortest:g} or more, or 0 for never.")
