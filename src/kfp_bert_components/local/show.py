"""A local run from its start to its end, shown on a console."""

from pathlib import Path
from typing import Any

from rich.console import Console

from kfp_bert_components.errors import RunError
from kfp_bert_components.local.display import Display
from kfp_bert_components.local.execute import execute
from kfp_bert_components.local.results import name_pages, pages, read_outputs
from kfp_bert_components.plain import plain


def show_run(spec: Path, arguments: dict[str, Any], root: Path, console: Console, *, cache: bool = True) -> Path:
    """Run a compiled pipeline and show its steps.

    Args:
        spec: YAML file of the compiled pipeline.
        arguments: Values by parameter name.
        root: Folder in which the run gets its own folder.
        console: Where to show it.
        cache: Whether finished steps of earlier runs in `root` are used again if nothing changed.

    Returns:
        The folder of this run, with one folder for each step and its artifacts.

    Raises:
        RunError: A step failed; the message explains it.
        UserError: The pipeline cannot run on this machine, or `root` cannot be written.
    """
    display = Display(console)
    with execute(spec, arguments, root, cache=cache) as run:
        display.follow(run)
        if not run.ok:
            failure = display.failure or run.log.read_text(encoding="utf-8")[-2000:]
            raise RunError(f"{failure}\nThe whole log: {run.log}")
    name_pages(run.folder)
    return run.folder


def show_places(run: Path, console: Console) -> None:
    """Show the decision of a run, if it has one, and where a person finds its outputs, pages and log."""
    for step, outputs in read_outputs(run).items():
        if {"outcome", "reason"} <= outputs.keys():
            console.print(plain(f"decision of {step}: {outputs['outcome']}: {outputs['reason']}"), markup=False)
    for page, path in pages(run).items():
        console.print(f"{page}: {path}", markup=False)
    console.print(f"log: {run / 'log.txt'}", markup=False)
    console.print(f"outputs: {run}", markup=False)
