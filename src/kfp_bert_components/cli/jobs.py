"""`kfp-bert jobs`: the jobs of AI Platform that our steps started and that are not over."""

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from kfp_bert_components.cli.groups import Group, example
from kfp_bert_components.plain import plain

if TYPE_CHECKING:
    from kfp_bert_components.ai_platform.client import AiPlatformClient
    from kfp_bert_components.ai_platform.running_jobs import RunningJob


_REGION = "--project my-project --location europe-west4"


@click.group("jobs", cls=Group, epilog=example(f"kfp-bert jobs list {_REGION}"))
def command() -> None:
    """Look at the jobs that our steps started on AI Platform and that are not over, and cancel them."""


def _of_a_region(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where jobs run."""
    function = click.option("--api-endpoint", default="", hidden=True)(function)
    function = click.option("--location", required=True, help="Region that the jobs run in.")(function)
    return click.option("--project", required=True, help="Id of the project that the jobs run in.")(function)


@command.command("list", epilog=example(f"kfp-bert jobs list {_REGION}"))
@_of_a_region
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def list_(project: str, location: str, api_endpoint: str, as_json: bool) -> None:
    """List them, oldest first: state, age, run, who waits, name.

    The run is the one that waits for the job now, or waited last.
    """
    jobs = _jobs(_client(project, location, api_endpoint))
    if as_json:
        click.echo(json.dumps([asdict(job) for job in jobs], indent=1, default=datetime.isoformat))
        return
    for job in jobs:
        click.echo(plain(_line(job)))
    if not jobs:
        click.echo(f"No job of ours is running in {project}, {location}.")


@command.command("cancel", epilog=example(f"kfp-bert jobs cancel --run train-and-deploy-x7k2p {_REGION}"))
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--run", default="", help="All jobs of this run, as `kfp-bert jobs list` shows it.")
@_of_a_region
def cancel(names: tuple[str, ...], run: str, project: str, location: str, api_endpoint: str) -> None:
    """Cancel jobs, by their names or by their run.

    A step that waits for one of them fails then.
    """
    from kfp_bert_components.ai_platform.running_jobs import cancel_job

    if bool(names) == bool(run):
        raise click.UsageError("Give the names of jobs, or --run.")
    client = _client(project, location, api_endpoint)
    found = names or [job.name for job in _jobs(client) if job.belongs_to([run])]
    for name in found:
        cancel_job(client, name)
        click.echo(f"cancelled {plain(name)}")
    if not found:
        click.echo(f"No job of run {plain(run)} is running in {project}, {location}.")


def _client(project: str, location: str, api_endpoint: str) -> "AiPlatformClient":
    from kfp_bert_components.ai_platform.client import AiPlatformClient

    return AiPlatformClient(project, location, api_endpoint)


def _jobs(client: "AiPlatformClient") -> "list[RunningJob]":
    from kfp_bert_components.ai_platform.running_jobs import running_jobs

    return running_jobs(client)


def _line(job: "RunningJob") -> str:
    minutes = max(0, int((datetime.now(UTC) - job.created).total_seconds() // 60))
    age = f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
    return f"{job.state:<9} {age:>10}  {job.run or 'run unknown'}  {job.holder or 'nobody waits'}  {job.name}"
