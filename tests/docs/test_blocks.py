"""Every code block and command of README and docs is run, or checked by what would run it."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kfp_bert_components import pipelines
from kfp_bert_components.compiling import Cluster, read_cluster
from kfp_bert_components.gate import Policy, parse_policy
from kfp_bert_components.local.quickstart import SAMPLE
from tests.conftest import ROOT
from tests.docs.blocks import PAGES, Block, read_page
from tests.docs.commands import check_command, check_mentioned, command_lines
from tests.docs.python_blocks import can_run, check_python

pytestmark = pytest.mark.docs
READ = {path: read_page(path) for path in PAGES}
BLOCKS = [block for page in READ.values() for block in page.blocks]
# Of these the site's build sees to it, or there is nothing to run.
SHOWN = {"text", "mermaid", "{eval-rst}"}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_runs_or_is_understood(block, tmp_path):
    if block.marker.startswith("not run") and block.language != "python":
        return
    assert block.language, f"{block} names no language: python, sh, console, yaml, json, or text for what is no code"
    if block.language == "python":
        _check_python(block, tmp_path)
    elif block.language in ("sh", "console"):
        _check_shell(block)
    elif block.language == "yaml":
        _check_yaml(block)
    elif block.language == "json":
        json.loads(block.text)
    else:
        assert block.language in SHOWN, f"{block} is {block.language}, which nothing here checks"


@pytest.mark.parametrize("page", READ.values(), ids=lambda page: str(page.path))
def test_a_command_in_a_sentence_is_there(page):
    lines = [line for block in page.blocks if block.language == "text" for line in block.text.splitlines()]
    for text in [*(code for _, code in page.inline), *(line for line in lines if line.startswith("kfp-bert "))]:
        check_mentioned(text)


def _check_python(block: Block, folder: Path) -> None:
    tree = ast.parse(block.text)
    if block.marker.startswith("not run") or not can_run(tree):
        check_python(tree)
        return
    shutil.copy(SAMPLE, folder / "lines.csv")
    command = [sys.executable, "-c", block.text]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{block}\n{done.stderr}"


def _check_shell(block: Block) -> None:
    text = block.text
    if block.language == "console":
        text = "\n".join(line[2:] for line in text.splitlines() if line.startswith(("$ ", "    -")))
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0, f"{block} is no shell"
    lines = command_lines(text)
    assert lines, f"{block} has no command"
    for line in lines:
        check_command(line)


def _check_yaml(block: Block) -> None:
    value = yaml.safe_load(block.text)
    keys = set(value)
    if "apiVersion" in keys:
        assert "kind" in keys
    elif keys <= set(Policy.model_fields):
        parse_policy(block.text)
    elif keys <= set(Cluster.model_fields):
        read_cluster(value)
    else:
        ready = [set(getattr(pipelines, name).component_spec.inputs) for name in pipelines.__all__]
        assert any(keys <= names for names in ready), f"{block} is no policy, cluster.yaml or file of parameters"


def environment() -> dict[str, str]:
    """The environment of a reader who has installed the package."""
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": paths, "PYTHONPATH": str(ROOT / "src")}
