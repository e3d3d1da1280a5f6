"""The outputs of the steps of a local run: parameters as values, artifacts as paths."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_OUTPUTS = "executor_output.json"


def read_outputs(run: Path) -> dict[str, dict[str, Any]]:
    """The outputs of every step that ran, by step and output name.

    Args:
        run: The folder of the run, in which kfp.local makes one folder for each step.

    Returns:
        Such as `{"compare-models": {"promote": True, "reason": "...", "report": Path(...)}}`. A step in a loop has the
        names of the loop's passes before its own: `for-loop-1-iteration-0/say`.
    """
    return {
        str(step.relative_to(run)): _outputs(json.loads((step / _OUTPUTS).read_text()))
        for step in _steps(run)
        if (step / _OUTPUTS).exists()
    }


def name_pages(run: Path) -> None:
    """Copy every HTML page of a run to a file that ends in .html, so that a browser shows it as a page."""
    for step in _steps(run):
        for path in step.iterdir():
            if path.is_file() and not path.suffix and _is_page(path):
                shutil.copyfile(path, path.with_suffix(".html"))


def pages(run: Path) -> dict[str, Path]:
    """The pages that `name_pages` made, by step and name of the output, such as "compare-models report"."""
    return {
        f"{step.relative_to(run)} {path.stem}": path for step in _steps(run) for path in sorted(step.glob("*.html"))
    }


def _steps(run: Path) -> Iterator[Path]:
    """The folders of the steps, oldest first; those of a loop lie in one folder for each of its passes."""
    folders = [path for path in run.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for folder in sorted(folders, key=os.path.getmtime):
        if "-iteration-" in folder.name:
            yield from _steps(folder)
        else:
            yield folder


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(15).lower() == b"<!doctype html>"


def _outputs(executor_output: dict[str, Any]) -> dict[str, Any]:
    outputs = dict(executor_output.get("parameterValues", {}))
    for name, value in executor_output.get("artifacts", {}).items():
        outputs[name] = Path(value["artifacts"][0]["uri"])
    return outputs
