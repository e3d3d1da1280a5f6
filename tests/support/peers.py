"""Other people's libraries, in environments of their own, run as a subprocess."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "torch": ("KFP_BERT_PEERS", ".peers"),
    "tensorflow 2.15": ("KFP_BERT_PEERS_TF215", ".peers-tf215"),
}


def run_peer(name: str, script: Path, *arguments: object) -> str:
    """Run a script with a peer's Python and give what it printed.

    Args:
        name: A key of FOLDERS; the environment variable there says where the environment lies instead.
        script: The script.
        arguments: Its command line.

    The test is skipped where the environment is missing (`make peers`), and fails with the script's last lines
    where the script does.
    """
    variable, default = FOLDERS[name]
    python = Path(os.environ.get(variable, ROOT / default)) / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no environment with {name} at {python.parent.parent}: make peers")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    command = [str(python), str(script), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    if result.returncode != 0:
        pytest.fail(f"{script.name} failed:\n" + "\n".join(result.stderr.splitlines()[-15:]))
    return result.stdout
