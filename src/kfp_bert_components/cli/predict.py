"""`kfp-bert predict`: a table in, the table with predictions out."""

from typing import Any

import click

from kfp_bert_components.cli.groups import example
from kfp_bert_components.errors import UserError


@click.command("predict", epilog=example("kfp-bert predict lines.csv predicted.csv --model gs://my-bucket/registry"))
@click.argument("table", type=click.Path())
@click.argument("output", metavar="OUT", type=click.Path())
@click.option(
    "--model",
    required=True,
    type=click.Path(),
    help="A registry (its champion) or one of its versions (.../versions/3), a model bundle, or a folder of served "
    "versions; in a bucket or local.",
)
@click.option(
    "--text-column", default="text", show_default=True, help="Name of the column with the text, or its position (#1)."
)
@click.option(
    "--pair-column", default="", help="Name or position of the column with the second text, for a model of pairs."
)
@click.option(
    "--format",
    "output_format",
    default="parquet",
    show_default=True,
    type=click.Choice(["parquet", "csv"]),
    help="Format of the parts in a folder. A single file has the format that its name says.",
)
@click.option(
    "--prefix",
    default="",
    help="Prefix for the names of the columns that are added, if the table has such names already.",
)
@click.option("--num-shards", default=1, show_default=True, help="Number of shards of the table.")
@click.option("--shard-index", default=0, show_default=True, help="Index of the shard to predict now; the first is 0.")
@click.option("--file-format", default="auto", show_default=True, help="auto, csv, tsv, jsonl or parquet.")
@click.option("--encoding", default="auto", show_default=True, help="auto, or a codec such as cp1252.")
@click.option("--delimiter", default="auto", show_default=True, help="auto, or one character; \\t is a tab.")
@click.option("--skip-rows", default=0, show_default=True, help="Number of lines above the table in each CSV file.")
@click.option("--header", default="auto", show_default=True, help="auto, yes or no.")
@click.option("--quoting", default="auto", show_default=True, help="auto, double, strict, backslash, single or none.")
@click.option(
    "--unreadable",
    default="keep",
    show_default=True,
    help="Rows that don't fit the table: keep (repaired, or without an answer), error or drop.",
)
@click.option(
    "--run-on",
    default="pod",
    show_default=True,
    type=click.Choice(["pod", "ai_platform"]),
    help="pod: this process answers the texts; ai_platform: a batch prediction job of AI Platform.",
)
@click.option(
    "--param",
    "-p",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="With ai_platform, a parameter of the job, such as job_project=my-project; docs/batch.md lists them.",
)
def command(table: str, output: str, model: str, run_on: str, params: tuple[str, ...], **settings: Any) -> None:
    """Write the rows of TABLE with the answers of a model to OUT.

    TABLE is a file or a folder of CSV, TSV, JSONL, JSON or Parquet, in a bucket or local. OUT is a folder for parts, in
    a bucket or local, or a local file that ends with .csv or .parquet. If a run was stopped, the same command continues
    it.
    """
    from kfp_bert_components.prediction import PredictionSettings
    from kfp_bert_components.steps.batch_predict import batch_predict

    try:
        batch_predict(table, output, model, PredictionSettings(**settings), run_on=run_on, **_job(run_on, params))
    except KeyboardInterrupt:
        click.echo("The same command goes on after the last part that is whole, if there is one yet.", err=True)
        raise


def _job(run_on: str, params: tuple[str, ...]) -> dict[str, Any]:
    """The settings of the job."""
    if run_on == "pod":
        if params:
            raise UserError("--param is for a job: add --run-on ai_platform.")
        return {}
    job: dict[str, Any] = {"project": "", "location": "", "staging": ""}
    for given in params:
        name, equals, value = given.partition("=")
        if not equals or not name.startswith("job_"):
            raise UserError(f"--param {given!r} is not of the form job_NAME=VALUE.")
        if job.get(name.removeprefix("job_")):
            raise UserError(f"--param {name} is given twice: leave one out.")
        job[name.removeprefix("job_")] = value
    return job
