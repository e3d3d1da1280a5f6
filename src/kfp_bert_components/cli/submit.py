"""`kfp-bert submit`: one run of a pipeline on Kubeflow Pipelines or on AI Platform."""

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import click

from kfp_bert_components.cli.backends import GOOD, open_place, pipeline_options, prepare, wait
from kfp_bert_components.cli.groups import example


@click.command(
    epilog=example(
        "kfp-bert submit train_and_deploy --host https://my-kubeflow/pipeline --images my-registry/my-team \\",
        "  -p sources=gs://my-bucket/lines -p registry=gs://my-bucket/registry \\",
        "  -p serving_directory=gs://my-bucket/serving --wait",
    )
)
@pipeline_options
@click.option("--wait", "waits", is_flag=True, help="Wait until the run has ended; exit code 1 if it did not succeed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: run, page, and with --wait the run's state.")
@click.option("--poll-seconds", default=10.0, hidden=True)
def command(pipeline: str, place: dict[str, Any], waits: bool, as_json: bool, poll_seconds: float, **how: Any) -> None:
    """Run PIPELINE on Kubeflow Pipelines (--host) or on AI Platform (--project and --location).

    PIPELINE, --cluster, --images, --volume and --set are as in kfp-bert compile. Before anything is sent, the pipeline
    is compiled for the place, and its settings are checked.

    The clients of kfp and of Google do the sign-in. KFP_EXISTING_TOKEN gives kfp's client a token; `gcloud auth
    application-default login` signs in to AI Platform. To list and watch runs of Kubeflow Pipelines, use kfp's own
    command line: kfp --endpoint URL run list.
    """
    from kfp_bert_components.errors import RunError

    with tempfile.TemporaryDirectory() as scratch:
        order = prepare(Path(scratch) / "pipeline.yaml", pipeline, place, **how)
        backend = open_place(place)
        run, page = backend.submit(**order)
    said = {"run": run, "page": page}
    if not as_json:
        click.echo(f"Run {run} is submitted to {backend.kind}.\n{page}")
    state, why = "", ""
    if waits:
        click.echo("Waiting until it has ended. It goes on where this command is stopped.", err=True)
        state, why = wait(backend, run, poll_seconds, partial(click.echo, err=True))
        said |= {"state": state, "why": why}
    if as_json:
        click.echo(json.dumps(said))
    if waits and state not in GOOD:
        raise RunError(f"Run {run} ended as {state.lower()}{f': {why}' if why else ''}. Its page: {page}")
