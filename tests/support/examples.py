"""The examples as their users have them: a file that writes a pipeline, and a pipeline that runs on this machine."""

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

EXAMPLES = ROOT / "examples"
# Parameters of finetune_bert with which the examples' made-up messages are learnt in seconds.
QUICK = {
    "epochs": 2,
    "learning_rate": 0.005,
    "batch_size": 8,
    "max_length": 48,
    "layers": 1,
    "width": 32,
    "heads": 2,
    "vocabulary_size": 1000,
}


def write_messages(path: Path, rows: int = 1500, label: str = "label", **settings: object) -> Path:
    """Made-up messages to a support team, with the columns text, LABEL, channel and plan."""
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    script = EXAMPLES / "support_messages_data.py"
    subprocess.run([sys.executable, script, path, "--rows", str(rows), *words], check=True)
    path.write_text(path.read_text().replace("text,category", f"text,{label}", 1))
    return path


def given(folder: Path, sources: Path, **more: object) -> dict[str, object]:
    """Parameters of an example that trains, with its registry and its serving directory in a folder."""
    places = {"registry": folder / "registry", "serving_directory": folder / "serving"}
    return {"sources": sources, "training": json.dumps(QUICK), **places, **more}
