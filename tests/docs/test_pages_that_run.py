"""Pages whose commands are all run, one after the other, in an empty folder."""

import socket
import subprocess
from pathlib import Path

import pytest

from kfp_bert_components.registry import Registry
from tests.conftest import ROOT
from tests.docs.blocks import PAGES, read_page
from tests.docs.test_blocks import environment

pytestmark = pytest.mark.docs
START = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"


def run_page(path: Path, folder: Path) -> str:
    """What the commands of a page print that are marked to be run; a copy of the repository is in the folder."""
    (folder / "kfp-bert-components").symlink_to(ROOT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    marked = [block.text for block in read_page(path).blocks if block.marker == "run"]
    script = START + "".join(marked).replace("8501", str(port))
    done = subprocess.run(["bash"], input=script, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("path", [path for path in PAGES if any(one.marker == "run" for one in read_page(path).blocks)])
def test_the_commands_of_a_page_run(path, tmp_path):
    said = run_page(path, tmp_path)
    if path.name == "tutorial.md":
        check_tutorial(said, tmp_path / "support")


def check_tutorial(said: str, folder: Path) -> None:
    """That the run of the tutorial went as its text says."""
    registry = Registry(str(folder / "registry"))
    assert registry.numbers() == [1, 2]
    assert registry.require_champion().version == 1
    assert said.count("PROMOTE: ") >= 2 and "The new labels disagree with the champion" in said
    assert '{"predictions":[{"label":' in said
    assert "Version 1 went live on production" in said.rpartition("rolled back from version 2 to version 1")[2]
