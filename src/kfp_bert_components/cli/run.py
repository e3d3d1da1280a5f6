"""`kfp-bert run`: any pipeline on this machine."""

import json
import tempfile
from pathlib import Path
from typing import Any

import click

from kfp_bert_components.cli.folders import LocalFolder
from kfp_bert_components.cli.groups import example
from kfp_bert_components.cli.parameters import parameter_options, read_arguments


@click.command(
    epilog=example(
        "kfp-bert run train_and_deploy -p sources=lines.csv -p registry=./registry \\",
        "  -p serving_directory=./serving",
    )
)
@click.argument("pipeline")
@parameter_options
@click.option(
    "--root",
    type=LocalFolder(),
    default=Path("kfp-bert-runs"),
    show_default=True,
    help="Folder in which each run gets its own folder.",
)
@click.option("--no-cache", is_flag=True, help="Run every step, even if nothing changed since an earlier run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: folder, outputs of the steps, pages, log.")
def command(pipeline: str, parameters: dict[str, Any], root: Path, no_cache: bool, as_json: bool) -> None:
    """Run PIPELINE on this machine, each step as a process.

    PIPELINE is a compiled pipeline (pipeline.yaml), the name of a ready one (kfp-bert pipelines list), or a function
    (module:function or file.py:function). A component counts as a pipeline of one step. A file can import the modules
    beside it. A module may also be in the current folder.

    As on a cluster, a step does not run again if nothing changed that it depends on (its component, its parameters, the
    outputs of the steps before it). Instead, its outputs from an earlier run under the same --root are used. The folder
    of such a step is a link to the earlier folder.

    Each run has its own folder under --root, with the outputs of its steps, their pages and log.txt. If, OneOf and
    loops work as on a cluster. Before the first step, the command refuses what cannot run here, such as a step that
    needs its image. It also refuses settings that prepare_text_data, finetune_bert or compare_models would refuse.
    """
    from rich.console import Console

    from kfp_bert_components.local.pipelines import compile_pipeline
    from kfp_bert_components.local.results import pages, read_outputs
    from kfp_bert_components.local.show import show_places, show_run

    with tempfile.TemporaryDirectory() as scratch:
        spec_path = Path(scratch) / "pipeline.yaml"
        spec = compile_pipeline(pipeline, spec_path)
        arguments = read_arguments(spec, parameters)
        console = Console(highlight=False, soft_wrap=True, stderr=as_json)
        folder = show_run(spec_path, arguments, root, console, cache=not no_cache)
    if as_json:
        found = {"folder": folder, "outputs": read_outputs(folder), "pages": pages(folder), "log": folder / "log.txt"}
        click.echo(json.dumps(found, indent=1, default=str))
    else:
        show_places(folder, console)
