"""The examples as their users have them: a file that writes a pipeline, and a pipeline that runs on this machine."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.support.easy_tables import TINY

EXAMPLES = ROOT / "examples"


def write_messages(path: Path, rows: int = 1500, **settings: object) -> Path:
    """Made-up messages to a support team, with the columns text, category, channel and plan."""
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    script = EXAMPLES / "support_messages_data.py"
    subprocess.run([sys.executable, script, path, "--rows", str(rows), *words], check=True)
    return path


def given(folder: Path, sources: Path, training: dict[str, Any] = TINY, **more: object) -> dict[str, object]:
    """Parameters of an example that trains, with its registry and its serving directory in a folder."""
    places = {"registry": folder / "registry", "serving_directory": folder / "serving"}
    return {"sources": sources, "training": json.dumps(training), **places, **more}
