"""`kfp-bert quickstart`: the main pipeline on a bundled sample."""

from pathlib import Path

import click

from kfp_bert_components.cli.folders import LocalFolder
from kfp_bert_components.cli.groups import example


@click.command(epilog=example("kfp-bert quickstart --keep-serving"))
@click.option(
    "--folder",
    type=LocalFolder(),
    default=Path("quickstart"),
    show_default=True,
    help="Folder for the registry, the served model and the reports.",
)
@click.option("--keep-serving", is_flag=True, help="Let the REST server run until Ctrl-C.")
@click.option("--port", default=8501, show_default=True, help="Port of the REST server; another port if it is in use.")
def command(folder: Path, keep_serving: bool, port: int) -> None:
    """Run the main pipeline on a bundled sample, from data to a served model.

    Run it again to see the gate at work: the second candidate is no better than the champion.
    """
    from rich.console import Console

    from kfp_bert_components.local.quickstart import quickstart

    quickstart(folder, Console(highlight=False, soft_wrap=True), keep_serving=keep_serving, port=port)
