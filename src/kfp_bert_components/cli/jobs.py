"""`kfp-bert jobs`: the jobs that our steps started and that are not over."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from kfp_bert_components.cli.groups import Group, bundled, example
from kfp_bert_components.errors import UserError
from kfp_bert_components.plain import plain

if TYPE_CHECKING:
    from kfp_bert_components.jobs.running_jobs import JobPlace, RunningJob


_REGION = "--project my-project --location europe-west4"


@click.group("jobs", cls=Group, epilog=example(f"kfp-bert jobs list {_REGION}"))
def command() -> None:
    """Look at the jobs that steps of this package started and that are not over, and cancel them.

    The jobs run on AI Platform (--project, --location) or, as TrainJobs, on a cluster (--namespace).
    """


_place_options = bundled(
    "place",
    click.option("--project", default="", help="Id of the project of AI Platform that the jobs run in."),
    click.option("--location", default="", help="Region that the jobs run in."),
    click.option("--namespace", default="", help="Namespace of TrainJobs, on the cluster of the kubeconfig."),
    click.option("--api-endpoint", default="", hidden=True),
)


@command.command("list", epilog=example(f"kfp-bert jobs list {_REGION}", "kfp-bert jobs list --namespace kubeflow"))
@_place_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def list_(place: dict[str, str], as_json: bool) -> None:
    """List the jobs, oldest first: state, age, run, who waits, name.

    The run shown is the run that waits for the job now, or waited for it last. If several runs wait, all are named.
    """
    opened = _open(place)
    jobs = opened.running()
    if as_json:
        click.echo(json.dumps([asdict(job) for job in jobs], indent=1, default=datetime.isoformat))
        return
    for job in jobs:
        click.echo(plain(_line(job)))
    if not jobs:
        click.echo(f"No job of ours is running there ({opened.options}).")


@command.command("cancel", epilog=example(f"kfp-bert jobs cancel --run train-and-deploy-x7k2p {_REGION}"))
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--run", default="", help="All jobs of this run, as `kfp-bert jobs list` shows it.")
@_place_options
def cancel(names: tuple[str, ...], run: str, place: dict[str, str]) -> None:
    """Cancel jobs, by their names or by their run.

    A step that waits for a cancelled job fails. With --run, a job is not cancelled if another run also waits for it. If
    one job can't be cancelled, the others are still cancelled, and the exit code is not 0.
    """
    if bool(names) == bool(run):
        raise click.UsageError("Give the names of jobs, or --run.")
    opened = _open(place)
    ours = {} if names else {job.name: job for job in opened.running() if job.belongs_to([run])}
    errors = []
    for name in names or ours:
        try:
            if others := _others(ours[name], run) if run else []:
                click.echo(
                    f"left {plain(name)}: {plain(', '.join(others))} waits for it, too; give its name to cancel it"
                )
                continue
            opened.cancel(name)
        except UserError as error:
            errors.append(f"{plain(name)} ({str(error).rstrip('.')})")
        else:
            click.echo(f"cancelled {plain(name)}")
    if errors:
        raise UserError(f"Not cancelled: {', '.join(errors)}.")
    if not (names or ours):
        click.echo(f"No job of run {plain(run)} is running there ({opened.options}).")


def _others(job: "RunningJob", run: str) -> list[str]:
    """Who waits for a job beside a run; nobody where this machine can't read that, as of a volume of the cluster."""
    return [] if job.unread else job.leave([run])


def _open(place: dict[str, str]) -> "JobPlace":
    region = (place["project"], place["location"])
    if not (all(region) or place["namespace"]) or (any(region) and place["namespace"]):
        raise click.UsageError("Give --project and --location, or --namespace.")
    if place["namespace"]:
        from kfp_bert_components.trainjob.running_jobs import jobs_of_namespace

        return jobs_of_namespace(place["namespace"], place["api_endpoint"])
    from kfp_bert_components.ai_platform.running_jobs import jobs_of_region

    return jobs_of_region(*region, place["api_endpoint"])


def _line(job: "RunningJob") -> str:
    minutes = max(0, int((datetime.now(UTC) - job.created).total_seconds() // 60))
    age = f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
    runs = ", ".join(filter(None, [job.run, *job.others])) or "run unknown"
    return f"{job.state:<9} {age:>10}  {runs}  {job.holder or 'nobody waits'}  {job.name}"
