"""Other people's libraries, in environments of their own, run as a subprocess."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "torch": ("KFP_BERT_PEERS", ".peers"),
    "tensorflow 2.15": ("KFP_BERT_PEERS_TF215", ".peers-tf215"),
    "server clients": ("KFP_BERT_PEERS_SERVER", ".peers-server"),
    "MLflow": ("KFP_BERT_PEERS_MLFLOW", ".peers-mlflow"),
    "S3 stores": ("KFP_BERT_PEERS_S3", ".peers-s3"),
}


def run_peer(name: str, script: Path, *arguments: object) -> str:
    """Run a script with a peer's Python and give what it printed; see `peer_command`."""
    return peer_command(name, "python", script, *arguments)


def peer_program(name: str, program: str) -> Path:
    """The path of a program of a peer's environment; the test is skipped where that is missing (`make peers`)."""
    variable, default = FOLDERS[name]
    path = Path(os.environ.get(variable, ROOT / default)) / "bin" / program
    if not path.exists():
        pytest.skip(f"no environment with {name} at {path.parent.parent}: make peers")
    return path


def peer_command(name: str, program: str, *arguments: object, folder: Path | None = None) -> str:
    """Run a program of a peer's environment and give what it printed.

    Args:
        name: A key of FOLDERS; the environment variable there says where the environment lies instead.
        program: Its name in the folder `bin`.
        arguments: Its command line.
        folder: Where it runs; by default here.

    The test is skipped where the environment is missing (`make peers`), and fails with the program's last lines where
    that does.
    """
    path = peer_program(name, program)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    command = [str(path), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, cwd=folder)
    if result.returncode != 0:
        last = (result.stderr or result.stdout).splitlines()[-40:]
        pytest.fail(f"{Path(command[1] if program == 'python' else program).name} failed:\n" + "\n".join(last))
    return result.stdout
