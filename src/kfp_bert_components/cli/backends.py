"""Where pipelines run: Kubeflow Pipelines or AI Platform, chosen by options, and what both are told about a run."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kfp_bert_components.cli.compile import cluster_options, compile_for
from kfp_bert_components.cli.groups import bundled
from kfp_bert_components.cli.parameters import parameter_options, read_arguments
from kfp_bert_components.errors import TransientError

if TYPE_CHECKING:
    from kfp_bert_components.ai_platform.pipelines import Pipelines
    from kfp_bert_components.cli.kubeflow import Kubeflow

GOOD = ("SUCCEEDED", "SKIPPED")
ENDED = (*GOOD, "FAILED", "CANCELED", "CANCELLED", "ERROR")
UNREAD = 5

place_options = bundled(
    "place",
    click.option("--host", default="", metavar="URL", help="Address of Kubeflow Pipelines."),
    click.option(
        "--namespace", default="", envvar="KFP_NAMESPACE", help="With --host: namespace, if Kubeflow has several users."
    ),
    click.option("--project", default="", help="Project of AI Platform, instead of --host."),
    click.option("--location", default="", help="With --project: region, such as europe-west4."),
    click.option("--api-endpoint", default="", hidden=True),
)
_run_options = bundled(
    "run",
    click.option("--name", default="", help="Name of the run or schedule.  [default: the pipeline's name]"),
    click.option("--experiment", default="", help="With --host: experiment of the runs; created if it does not exist."),
    click.option(
        "--pipeline-root", default="", metavar="URI", help="Folder for the artifacts; required with --project."
    ),
    click.option(
        "--service-account", default="", help="Account that the steps run as.  [default: the account in cluster.yaml]"
    ),
    click.option("--no-cache", is_flag=True, help="Run every step; take no results from earlier runs."),
)


def pipeline_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The argument and options of a command that sends a pipeline somewhere."""
    for add in (_run_options, cluster_options, parameter_options, place_options):
        function = add(function)
    return click.argument("pipeline")(function)


def open_place(place: dict[str, Any]) -> "Kubeflow | Pipelines":
    """The place that the options name.

    Raises:
        click.UsageError: They name none, or two.
    """
    _check(place)
    if place["host"]:
        from kfp_bert_components.cli.kubeflow import Kubeflow

        return Kubeflow(place["host"], place["namespace"])
    from kfp_bert_components.ai_platform.pipelines import Pipelines

    return Pipelines(place["project"], place["location"], place["api_endpoint"])


def _check(place: dict[str, Any]) -> None:
    if bool(place["host"]) == bool(place["project"]) or bool(place["project"]) != bool(place["location"]):
        raise click.UsageError("Say where: --host URL, or --project ID --location REGION.")


def prepare(
    target: Path,
    pipeline: str,
    place: dict[str, Any],
    run: dict[str, Any],
    cluster_settings: dict[str, Any],
    parameters: dict[str, Any],
) -> dict[str, Any]:
    """Compile a pipeline to `target` and check its arguments; what a place is told about the run.

    Raises:
        click.UsageError: The options name no place, or two.
        UserError: The pipeline can't be compiled, or a step would refuse its settings.
    """
    from kfp_bert_components.local.checks import check_settings

    _check(place)
    platform = "kubernetes" if place["host"] else "vertex"
    spec, account = compile_for(pipeline, target, cluster_settings, platform, caching=not run["no_cache"])
    arguments = read_arguments(spec, parameters)
    inputs = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    defaults = {name: one["defaultValue"] for name, one in inputs.items() if "defaultValue" in one}
    check_settings(spec, defaults | arguments)
    return {
        "spec": target,
        "name": run["name"] or spec["pipelineInfo"]["name"],
        "arguments": arguments,
        "service_account": run["service_account"] or account,
        "root": run["pipeline_root"],
        "experiment": run["experiment"],
    }


def wait(backend: Any, run: str, poll_seconds: float, say: Callable[[str], None]) -> tuple[str, str]:
    """Wait until a run has ended; its state, and what is known about its failure.

    Raises:
        TransientError: Its state could not be read five times in a row.
    """
    before, unread = "", 0
    while True:
        try:
            state, why = backend.state(run)
            unread = 0
        except TransientError:
            unread += 1
            if unread == UNREAD:
                raise
        else:
            if state != before:
                say(f"{time.strftime('%H:%M:%S')}  {state.lower()}")
            if state in ENDED:
                return state, why
            before = state
        time.sleep(poll_seconds)


def check_cron(context: click.Context, option: click.Parameter, value: str) -> str:
    """The five fields of a schedule; UsageError for another form."""
    fields = value.split()
    if len(fields) != 5 or not all(re.fullmatch(r"[\d*/,\-A-Za-z]+", one) for one in fields):
        raise click.BadParameter(
            f"{value!r} must have five fields: minute, hour, day of the month, month, day of the week, such as "
            "'0 3 * * *' for 03:00 each day.",
            ctx=context,
            param=option,
        )
    return " ".join(fields)
