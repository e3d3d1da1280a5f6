"""The use case of `clean_up_run`: nothing that a run started goes on when the run is over, and people hear of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from shlex import quote

from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.jobs.running_jobs import JobPlace, RunningJob
from kfp_bert_components.kubernetes_api import ForbiddenError
from kfp_bert_components.origin import Origin, here, read_origin
from kfp_bert_components.plain import plain
from kfp_bert_components.progress import say
from kfp_bert_components.steps.webhook import VARIABLE, tell

_NO_PLACE = "No job_project was given, so no jobs were looked for."
_WORDS = {"SUCCEEDED": "ended well", "FAILED": "failed", "RUNNING": "was ended before it was over"}


def clean_up_run(
    state: str,
    error: str,
    runs: list[str],
    *,
    registry: str = "",
    deployment_target: str = "",
    project: str = "",
    location: str = "",
    namespace: str = "",
    api_endpoint: str = "",
    webhook: str = "",
    origin: Origin | None = None,
) -> str:
    """Cancel the jobs of a run that are not over, unless the run ended well; say what came of it.

    Jobs that another run waits for, too, go on, and so do those whose lease, which says that, can't be read. A rollout
    that stands between two steps is left to the next run, which goes on with it; what serves, serves.

    Args:
        state: The run's state as KFP gives it: SUCCEEDED, FAILED, or RUNNING where the run was terminated.
        error: Why it failed, "" where that is not known.
        runs: The run's names: its id, its name, its name in the cluster; "" for one that is not known.
        registry: gs:// or s3:// URI, or folder, of the registry, to report a rollout; "" for none.
        deployment_target: Name of the deployment record in it.
        project: Id of the project of AI Platform that jobs run in; "" where none are to be looked for.
        location: Region that they run in.
        namespace: Namespace of TrainJobs; "" where none are to be looked for.
        api_endpoint: Another address of the API, for tests.
        webhook: Where to post what the run did; "" for the address in KFP_BERT_WEBHOOK, if there is one.
        origin: Where this runs, by which the registry knows what the run did.

    Returns:
        The outcome, in sentences; also printed, each as soon as it is known.

    Raises:
        UserError: A job could not be cancelled, or AI Platform can't be asked.
    """
    origin = origin or here()
    jobs = _jobs(runs, project, location, namespace, api_endpoint) if state != "SUCCEEDED" else ()
    if origin.folder and not (project or namespace):  # a run on one machine
        jobs = ()
    lines, problem = [], None
    try:
        for line in chain(_outcome(state, error, registry, deployment_target), jobs):
            say(line)
            lines.append(line)
    except UserError as failure:
        problem = failure
    if webhook := webhook or os.environ.get(VARIABLE, ""):
        news = [*_news(state, registry, deployment_target, origin)]
        if state != "SUCCEEDED":  # what was cleaned up; the first line may quote an error
            news += [line for line in (*lines[1:], str(problem or _NO_PLACE)) if line != _NO_PLACE]
        lines.append(tell(webhook, "\n".join(map(plain, news))))
        say(lines[-1])
    if problem:
        raise problem
    return plain(" ".join(lines))


def _news(state: str, registry: str, target: str, run: Origin) -> Iterator[str]:
    """What people hear of a run, a line each. What may quote a text of the data, such as an error, is not in it."""
    yield f"Run {run.run or 'without a name'} {_WORDS.get(state, f'is {state}')}. {run.page}".rstrip()
    try:
        yield from _in_registry(registry, target, run) if registry else ()
    except (UserError, TransientError) as error:
        yield f"What it did in the registry can't be read: {error}"


def _in_registry(registry: str, target: str, run: Origin) -> Iterator[str]:
    from kfp_bert_components.registry import Registry

    models = Registry(registry)
    for one in models.decisions():
        if run.is_same_run(read_origin(one.origin)):
            yield f"{one.outcome}: {one.reason}"
            yield from (f"Alarm: {warning}" for warning in one.warnings)
            if one.approval:
                by = f" by {one.approval.by}: {one.approval.reason}" if one.approval.by else ""
                yield f"Approval: {one.approval.state}{by}".rstrip(": ")
            yield f"Comparison: {one.report}"
    record = models.deployment(target)
    if not run.is_same_run(read_origin(record.origin)):
        return
    if record.state == "live":
        yield f"Version {record.version} is live on {target}."
    elif record.state == "failed":
        serves = "no version is known to serve"
        if live := record.live_version:
            known = record.live_is_known
            serves = f"version {live} serves as before" if known else f"whether version {live} serves is not known"
        why = f"kfp-bert registry history {quote(models.uri)} --run {quote(run.label)}"
        yield f"The rollout of version {record.version} to {target} failed, and {serves}. Why: {why}"


def _outcome(state: str, error: str, registry: str, target: str) -> Iterator[str]:
    yield f"The run {_WORDS.get(state, f'is {state}')}{f': {error}' if error else ''}".rstrip(". \n") + "."
    if state == "SUCCEEDED":
        yield "There is nothing to clean up."
    elif registry:
        yield from _rollout(registry, target)


def _jobs(runs: list[str], project: str, location: str, namespace: str, api_endpoint: str) -> Iterator[str]:
    """Cancel the jobs of a run; UserError where one may go on, which says what to do."""
    names = [*runs, os.environ.get("ARGO_WORKFLOW_NAME", "")]
    if not (project or namespace):
        yield _NO_PLACE
    if namespace:
        from kfp_bert_components.trainjob.running_jobs import jobs_of_namespace

        try:
            yield from _cancelled(jobs_of_namespace(namespace, api_endpoint), names)
        except ForbiddenError as error:  # it is a right that finetune_bert does not need
            yield f"TrainJobs were not looked for, and end when nobody has waited for job_abandoned_minutes: {error}"
    if project:
        from kfp_bert_components.ai_platform.running_jobs import jobs_of_region

        yield from _cancelled(jobs_of_region(project, location, api_endpoint), names)


def _cancelled(place: JobPlace, names: list[str]) -> Iterator[str]:
    try:
        ours = [job for job in place.running() if job.belongs_to(names)]
        if not ours:
            yield "None of its jobs is running."
        errors = {}
        for job in ours:
            if job.state == "cancelling":
                yield f"Job {job.name} is being cancelled already."
                continue
            if why := _reason_to_leave(job, names):
                yield why
                continue
            try:
                place.cancel(job.name)
            except UserError as error:  # the others are cancelled all the same
                errors[job.name] = str(error)
            else:
                yield f"Cancelled job {job.name}, which was {job.state}."
        if errors:  # one that has ended meanwhile can't be cancelled
            left = {job.name for job in place.running() if job.state != "cancelling"}
            if refused := [error for name, error in errors.items() if name in left]:
                raise UserError(" ".join(refused))
    except ForbiddenError:
        raise
    except UserError as error:
        raise UserError(
            f"{str(error).rstrip('.')}. Jobs of this run may go on: see them with `kfp-bert jobs list {place.options}` "
            f"and cancel them with `kfp-bert jobs cancel NAME {place.options}`."
        ) from None


def _reason_to_leave(job: RunningJob, names: list[str]) -> str:
    """Why a job of this run is not cancelled, as a sentence; "" where it is to be."""
    try:
        if others := job.leave(names):
            return f"Job {job.name} goes on: {', '.join(others)} waits for it, too."
    except UserError as error:
        return (
            f"Job {job.name} is left to its lease, as it can't be read here whether another run waits for it "
            f"({str(error).rstrip('.')}). A training job ends when nobody has waited for it for job_abandoned_minutes."
        )
    return ""


def _rollout(registry: str, target: str) -> list[str]:
    """A sentence on the rollout that stands between two steps, if there is one."""
    from kfp_bert_components.registry import Registry

    try:
        record = Registry(registry).deployment(target)
    except UserError as error:
        return [f"Whether a rollout is under way can't be read: {error}"]
    if record.state != "rolling":
        return []
    step = record.details.get("step", "rolling")
    return [f"The rollout of version {record.version} to {target} is left as it is ({step}): the next run goes on."]
