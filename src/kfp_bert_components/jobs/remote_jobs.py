"""Jobs that run elsewhere and are started once: found again, followed to their end, ended with the one who waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from kfp_bert_components.cancellation import cancellable, uninterrupted
from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.leases import Lease, LeaseRecord, named
from kfp_bert_components.progress import say

Answer = TypeVar("Answer")
_PATIENCE = 600.0  # seconds for which a job that is waited for goes on without being looked at
_LONGEST_END = 900.0  # seconds for a job that has decided to end: it kills itself after 600
_LONGEST_PAUSE = 5.0  # seconds between two looks at what is about to change


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

    `find` and `cancel` are tried again after a TransientError, and raise a UserError where the API refuses a call or
    can't be reached.
    """

    def find(self) -> Sequence[RemoteJob]:
        """All jobs with the key, the newest first."""

    def create(self, job: Any) -> str:
        """Start a job, and return its name. After a TransientError it may have started all the same."""

    def get(self, name: str) -> RemoteJob:
        """Look at a job, by one call, which may raise a TransientError."""

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
        self._said = ""
        self._may_exist = False  # whether a job may have been created whose answer was lost

    @contextmanager
    def cancelled_with_this_process(self) -> Iterator[None]:
        """Cancel the job when this process is told to stop (SIGTERM, Ctrl-C) in the block, unless others wait for it.

        The lease is renewed while the block runs. SIGTERM leaves so little time on Kubeflow that the cancellation may
        fail. Then the lease ends the job, where it looks at it.
        """
        with cancellable(), self._lease.renewed_meanwhile():
            try:
                yield
            except BaseException as error:
                if not isinstance(error, Exception):
                    self._cancel()
                raise

    def start(self, make: Callable[[], Any]) -> str:
        """The name of a job that runs or has left its outputs; else one is made and started, by one process at a time.

        Args:
            make: Makes a job. None says that there is one meanwhile, which is then looked for.
        """
        until, pause = 0.0, 0.1
        while True:
            lease, generation = self._lease.look()
            jobs = self._client.find()
            if name := self._continued(jobs, lease):
                return name
            if lease.ended and (ending := _running(jobs)):
                self._say_once(f"Job {ending[0]} ends: {lease.ended} Another one is started when it has ended.")
                until = until or time.monotonic() + _LONGEST_END
                if time.monotonic() > until:
                    self._client.cancel(ending[0])
            elif self._lease.claim(lease, generation):
                if name := self._start(make):
                    return name
            elif lease.starter:
                self._say_once(f"{named(lease.starter)} starts a job for the same data: waiting for it.")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def wait(self, name: str, poll_seconds: float, each: Callable[[RemoteJob], None] = lambda job: None) -> RemoteJob:
        """Wait until a job has succeeded, and return it; `each` is called after each look at it.

        Raises:
            UserError: It ended in another way, or could not be looked at for ten minutes.
        """
        state = ""
        while True:
            # A look refreshes the token some minutes before it expires: what cancels the job finds one that is good.
            seen = self._look(name)
            if seen.state != state:
                state = seen.state
                say(f"The job is {state}.")
            each(seen)
            if seen.over:
                break
            time.sleep(poll_seconds)
        if not seen.succeeded:
            why = self._lease.ended(name) or seen.why or "its log says why"
            raise UserError(f"Job {name} ended as {state.upper()}: {why.rstrip('.')}.")
        return seen

    def _look(self, name: str) -> RemoteJob:
        """Look at a job, patiently: it goes on where its API can't be reached, and so does the lease."""
        until, pause = time.monotonic() + _PATIENCE, 0.5
        while True:
            try:
                return self._client.get(name)
            except TransientError as error:
                if time.monotonic() > until:
                    raise UserError(
                        f"Job {name} could not be looked at for {_PATIENCE / 60:.0f} minutes: {error}. It may go on: "
                        "until nobody has waited for it for job_abandoned_minutes, or until clean_up_run cancels it, "
                        "where the pipeline has that. Run again before to wait for it."
                    ) from error
                self._say_once(f"The job can't be looked at now, and is looked at again: {error}")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _cancel(self) -> None:
        """Cancel the job, unless another one waits for it.

        It is one request to its API where the name of the job is known. The API may also have created one though its
        answer did not arrive.
        """
        if not self._lease.leave():
            return
        for name in [self._name] if self._name else _running(self._client.find()):
            self._client.cancel(name)
            with suppress(OSError):  # nobody reads it any more where the launcher was ended too
                say(f"Cancelled job {name}.")
        self._lease.give_back()

    def _continued(self, jobs: Sequence[RemoteJob], lease: LeaseRecord) -> str:
        """The name of a job to go on with, for which this process waits then; "" where there is none."""
        running = [] if lease.ended else _running(jobs)
        if not (found := running or self._done(jobs)):
            return ""
        # Of two that run, by a process that slept between the right to start one and its start, one is named.
        name = lease.job if lease.job in running else found[0]
        if running and not self._lease.take(name):
            return ""
        if name == lease.job:
            self._cancel_others(running, name)
        self._name = name
        say(f"Continuing with job {name}.")
        return name

    def _start(self, make: Callable[[], Any]) -> str:
        """Make and start a job, by the right to do so; "" where another process does that."""
        try:
            job = make()
            name = self._submit(job) if job and self._lease.confirm() else ""
        except Exception:
            if not self._may_exist:  # else the lease, which gets old, ends the job
                self._lease.give_back()
            raise
        if name and self._lease.take(name, started=True):
            self._cancel_others(_running(self._client.find()), name)
            say(f"Started job {name}.")
            return name
        if name:  # this process has slept, and another one has started a job meanwhile
            self._end(name)
            self._name = ""
        self._lease.give_back()
        return ""

    def _cancel_others(self, running: Sequence[str], name: str) -> None:
        for other in running:
            if other != name:
                self._end(other)

    def _end(self, name: str) -> None:
        """Cancel a job that does what another one does, too; one that has ended meanwhile can't be cancelled."""
        try:
            self._client.cancel(name)
            say(f"Cancelled job {name}, as another one does the same.")
        except UserError as error:
            say(f"Job {name} does what another one does, and can't be cancelled: {error}")

    def _done(self, jobs: Sequence[RemoteJob]) -> list[str]:
        return [job.name for job in jobs if job.succeeded and self._has_outputs(job)]

    def _say_once(self, line: str) -> None:
        if line != self._said:
            self._said = line
            say(line)

    def _submit(self, job: Any) -> str:
        """Create the job and return its name. If an answer is lost, look for the job before creating it again."""
        for attempt in range(5):
            try:
                with uninterrupted():
                    self._name = self._client.create(job)
                return self._name
            except TransientError:
                self._may_exist = True
                if attempt == 4:
                    raise
                time.sleep(2**attempt / 2)
                jobs = self._client.find()
                if name := next(iter(_running(jobs) + self._done(jobs)), ""):
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
                raise UserError(f"{api} can't be reached: {error}. Try again later.") from error
            time.sleep(2**attempt / 2)
    raise AssertionError


def _running(jobs: Sequence[RemoteJob]) -> list[str]:
    return [job.name for job in jobs if not (job.over or job.ending)]


def check_abandoned_minutes(minutes: float, poll_seconds: float) -> None:
    """UserError where a job would take one who waits for one who is gone."""
    shortest = 10 * poll_seconds / 60  # so that some renewals can be missed
    if 0 < minutes < shortest:
        raise UserError(f"job_abandoned_minutes is {minutes:g}: give {shortest:g} or more, or 0 for never.")
