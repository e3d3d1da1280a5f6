"""`kfp-bert schedule`: a pipeline that runs again and again, on Kubeflow Pipelines or on AI Platform."""

import json
import tempfile
from pathlib import Path
from typing import Any

import click

from kfp_bert_components.cli.backends import check_cron, open_place, pipeline_options, place_options, prepare
from kfp_bert_components.cli.groups import Group, example
from kfp_bert_components.errors import UserError
from kfp_bert_components.plain import plain

_HOST = "--host https://my-kubeflow/pipeline"


@click.group("schedule", cls=Group, epilog=example(f"kfp-bert schedule list {_HOST}"))
def command() -> None:
    """Run a pipeline on a schedule: on Kubeflow Pipelines (--host) or AI Platform (--project and --location)."""


@command.command(
    epilog=example(
        f"kfp-bert schedule create train_and_deploy {_HOST} --cron '0 3 * * *' \\",
        "  --images my-registry/my-team --params-file nightly.yaml",
    )
)
@pipeline_options
@click.option(
    "--cron",
    required=True,
    callback=check_cron,
    help="Minute, hour, day of the month, month, day of the week: '0 3 * * 1-5'.",
)
@click.option("--time-zone", default="", help="With --project: zone of --cron, such as Asia/Seoul.  [default: UTC]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def create(pipeline: str, place: dict[str, Any], cron: str, time_zone: str, as_json: bool, **how: Any) -> None:
    """Run PIPELINE at the times of --cron, one run at a time.

    PIPELINE and the other options are as in kfp-bert submit. If a run is missed because the schedule is paused or
    another run is not over, it is not started later. Two schedules can't have the same name, because the second would
    train everything twice.
    """
    with tempfile.TemporaryDirectory() as scratch:
        order = prepare(Path(scratch) / "pipeline.yaml", pipeline, place, **how)
        backend = open_place(place)
        if any(one["name"] == order["name"] for one in backend.schedules()):
            raise UserError(
                f"There is a schedule {order['name']!r} already: delete it (kfp-bert schedule delete), or give this "
                "one another --name."
            )
        made = backend.create_schedule(**order, cron=cron, time_zone=time_zone)
    click.echo(json.dumps({"schedule": made, "name": order["name"]}) if as_json else f"Schedule {made} is active.")


@command.command("list", epilog=example(f"kfp-bert schedule list {_HOST} --json"))
@place_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_(place: dict[str, Any], as_json: bool) -> None:
    """List the schedules: state, times, id, name."""
    found = open_place(place).schedules()
    if as_json:
        click.echo(json.dumps(found))
        return
    for one in found:
        click.echo(plain(f"{one['state']:<9} {one['cron']:<24} {one['id']}  {one['name']}"))
    if not found:
        click.echo("There is no schedule.")


def _act(name: str, summary: str, method: str, done: str) -> None:
    """Add the command that does one thing to one schedule."""

    @command.command(name, help=summary, epilog=example(f"kfp-bert schedule {name} train-and-deploy {_HOST}"))
    @click.argument("schedule")
    @place_options
    def act(schedule: str, place: dict[str, Any]) -> None:
        backend = open_place(place)
        one = _find(backend.schedules(), schedule)
        getattr(backend, method)(one["id"])
        click.echo(f"{plain(one['name'])} is {done}.")


def _find(schedules: list[dict[str, str]], wanted: str) -> dict[str, str]:
    """The schedule with this id or name."""
    found = [one for one in schedules if wanted in (one["id"], one["name"])]
    if len(found) > 1:
        raise UserError(f"{len(found)} schedules are called {wanted!r}: give an id, {_listed(found, 'id')}.")
    if not found:
        raise UserError(f"There is no schedule {wanted!r}; there are {_listed(schedules, 'name') or 'none'}.")
    return found[0]


def _listed(schedules: list[dict[str, str]], key: str) -> str:
    return ", ".join(one[key] for one in schedules)


_act("pause", "Let SCHEDULE (an id or a name) start no more runs.", "pause", "paused")
_act("resume", "Let SCHEDULE (an id or a name) start runs again.", "resume", "active")
_act("delete", "Remove SCHEDULE (an id or a name). Its runs stay.", "delete", "deleted")
