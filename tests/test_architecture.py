"""Imports go only where docs/architecture.md allows it."""

import os
import re
import subprocess
import sys
import tomllib

import grimp

from tests.conftest import ROOT

# Which of Google's client libraries a folder may import; import-linter sees all of them as one package, `google`.
CLIENTS = {"storage": ("google.cloud.storage",), "ai_platform": ("google.cloud.aiplatform",)}


def contracts():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def test_the_contracts_in_pyproject_are_kept():
    # A process of its own: import-linter leaves the streams that it prints to closed.
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
        "--no-cache",
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_floors_in_the_docs_are_those_of_the_contract():
    text = (ROOT / "docs" / "architecture.md").read_text()
    block = re.search(r"^## Floors\n.*?^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block, "docs/architecture.md has no block of floors under the heading Floors"
    (layers,) = (one["layers"] for one in contracts() if one["type"] == "layers")
    assert block[1].split("\n")[:-1] == layers


def test_each_folder_imports_only_its_own_client_of_google():
    graph = grimp.build_graph("kfp_bert_components", include_external_packages=True, cache_dir=None)
    for importer in graph.find_modules_that_directly_import("google"):
        allowed = CLIENTS.get(importer.split(".")[1], ())
        for one in graph.get_import_details(importer=importer, imported="google"):
            line = one["line_contents"].replace("from google.cloud import ", "import google.cloud.")
            client = re.search(r"google\.cloud\.\w+", line)
            assert not client or client[0].startswith(allowed), f"{importer}, line {one['line_number']}: {line}"
