"""A local run from its start to its end, shown on a console."""

from pathlib import Path
from typing import Any

from rich.console import Console

from kfp_bert_components.errors import RunError
from kfp_bert_components.local.display import Display
from kfp_bert_components.local.execute import execute
from kfp_bert_components.local.results import name_pages


def show_run(spec: Path, arguments: dict[str, Any], root: Path, console: Console) -> Path:
    """Run a compiled pipeline and show its steps.

    Args:
        spec: YAML file of the compiled pipeline.
        arguments: Values by parameter name.
        root: Folder in which kfp.local makes one folder for each run.
        console: Where to show it.

    Returns:
        The folder of this run, with one folder for each step and its artifacts.

    Raises:
        RunError: A step failed; the message explains it.
    """
    root = root.resolve()
    before = _runs(root)
    display = Display(console)
    with execute(spec, arguments, root) as run:
        display.follow(run)
        if not run.ok:
            failure = display.failure or run.log.read_text()[-2000:]
            raise RunError(f"{failure}\nThe whole log: {run.log}")
    folder = max(_runs(root) - before, default=root)
    name_pages(folder)
    return folder


def _runs(root: Path) -> set[Path]:
    return {path for path in root.iterdir() if path.is_dir()} if root.is_dir() else set()
