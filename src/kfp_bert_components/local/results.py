"""What the steps of a local run gave: parameters as values, artifacts as paths."""

import json
import shutil
from pathlib import Path
from typing import Any


def read_outputs(run: Path) -> dict[str, dict[str, Any]]:
    """Outputs of every step that ran, by step and output name.

    Args:
        run: The folder of one run: one folder a step, as kfp.local makes them.

    Returns:
        For "compare-models" for example `{"promote": True, "reason": "...", "report": Path(...)}`.
    """
    return {path.parent.name: _outputs(json.loads(path.read_text())) for path in run.glob("*/executor_output.json")}


def name_pages(run: Path) -> None:
    """Give every HTML page of a run a copy that ends in .html: by that a browser knows it when it opens the file."""
    for path in run.glob("*/*"):
        if path.is_file() and not path.suffix and path.read_bytes()[:15].lower() == b"<!doctype html>":
            shutil.copyfile(path, path.with_suffix(".html"))


def _outputs(executor_output: dict[str, Any]) -> dict[str, Any]:
    outputs = dict(executor_output.get("parameterValues", {}))
    for name, value in executor_output.get("artifacts", {}).items():
        outputs[name] = Path(value["artifacts"][0]["uri"])
    return outputs
