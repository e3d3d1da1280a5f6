"""The outputs of the steps of a local run: parameters as values, artifacts as paths."""

import json
import shutil
from pathlib import Path
from typing import Any


def read_outputs(run: Path) -> dict[str, dict[str, Any]]:
    """The outputs of every step that ran, by step and output name.

    Args:
        run: The folder of the run, in which kfp.local makes one folder for each step.

    Returns:
        Such as `{"compare-models": {"promote": True, "reason": "...", "report": Path(...)}}`.
    """
    return {path.parent.name: _outputs(json.loads(path.read_text())) for path in run.glob("*/executor_output.json")}


def name_pages(run: Path) -> None:
    """Copy every HTML page of a run to a file that ends in .html, so that a browser shows it as a page."""
    for path in run.glob("*/*"):
        if path.is_file() and not path.suffix and path.read_bytes()[:15].lower() == b"<!doctype html>":
            shutil.copyfile(path, path.with_suffix(".html"))


def _outputs(executor_output: dict[str, Any]) -> dict[str, Any]:
    outputs = dict(executor_output.get("parameterValues", {}))
    for name, value in executor_output.get("artifacts", {}).items():
        outputs[name] = Path(value["artifacts"][0]["uri"])
    return outputs
