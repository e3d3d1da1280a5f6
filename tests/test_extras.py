"""A module that is not installed is named with the extra that installs it."""

import subprocess
import sys
import tomllib

import pytest

from kfp_bert_components.extras import missing_extra
from kfp_bert_components.local.failure import explain
from tests.conftest import ROOT

# Python as it is where these modules are not installed.
WITHOUT = """
import importlib.abc, sys
module = sys.argv.pop(1)
class Without(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.startswith(module):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Without())
"""
COMMAND = "from kfp_bert_components.cli import main; main()"


def run_without(module, code, *arguments):
    command = [sys.executable, "-c", WITHOUT + code, module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


@pytest.mark.parametrize(
    ("module", "code", "extra"),
    [
        ("google.cloud.storage", "from kfp_bert_components.storage import open_store; open_store('gs://b')", "data"),
        ("google.cloud", "from kfp_bert_components.storage import open_store; open_store('gs://b')", "data"),
        ("obstore", "from kfp_bert_components.storage import open_store; open_store('gs://b')", "data"),
        ("tqdm", "from kfp_bert_components.fetch import fetch", "data"),
        ("google.cloud.aiplatform", "from kfp_bert_components.ai_platform import run_as_custom_job", "ai-platform"),
        (
            "mlflow",
            "from kfp_bert_components.mirrors import parse_mirrors; parse_mirrors(['mlflow+https://h'], 'r')",
            "mlflow",
        ),
        ("scipy", "from kfp_bert_components.gate import compare", "gate"),
        ("keras", "from kfp_bert_components.bert import Classifier", "tensorflow"),
    ],
)
def test_a_function_names_the_extra_that_it_needs(module, code, extra):
    done = run_without(module, code)
    assert f"UserError: {module}" in done.stderr
    assert done.stderr.splitlines()[-1].endswith(f" is not installed: pip install 'kfp-bert-components[{extra}]'.")


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("google.cloud.storage", ["registry", "list", "gs://b/r"], "data"),
        ("google_crc32c", ["registry", "list", "gs://b/r"], "data"),
        ("uvicorn", ["serve", "model"], "serve"),
        ("rich", ["run", "pipeline.yaml"], "local"),
    ],
)
def test_a_command_names_the_extra_that_it_needs(module, arguments, extra):
    done = run_without(module, COMMAND, *arguments)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said == f"error: {module} is not installed: pip install 'kfp-bert-components[{extra}]'."


def test_a_step_of_a_local_run_names_the_extra_that_it_needs():
    printed = run_without("pydantic", "import kfp_bert_components.gate").stderr.splitlines()
    assert explain(printed) == "pydantic is not installed: pip install 'kfp-bert-components[data]'."


@pytest.mark.parametrize("module", ["kfp_bert_components.none", "someone_elses"])
def test_a_module_of_no_extra_stays_a_traceback(module):
    assert missing_extra(f"No module named {module!r}") == ""
    done = run_without("someone_elses", "import someone_elses")
    assert explain(done.stderr.splitlines()).startswith("Traceback")


def test_the_readme_says_what_each_extra_holds():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    readme = (ROOT / "README.md").read_text()
    for extra in extras:
        assert f"| `{extra}` |" in readme, extra


# Python with what `pip install kfp-bert-components` alone brings.
BARE = """
import importlib.abc, re, sys
from importlib import metadata
from packaging.requirements import Requirement

def closure(name, extras=()):
    done = set()
    todo = [(name, ("", *extras))]
    while todo:
        name, extras = todo.pop()
        key = (re.sub("[-_.]+", "-", name).lower(), extras)
        if key in done:
            continue
        done.add(key)
        for line in metadata.requires(name) or []:
            one = Requirement(line)
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras):
                todo.append((one.name, ("", *sorted(one.extras))))
    return {name for name, _ in done}

wanted = closure("kfp-bert-components")
lacks = {
    module for module, owners in metadata.packages_distributions().items()
    if not wanted & {re.sub("[-_.]+", "-", owner).lower() for owner in owners}
}
class Bare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in lacks:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Bare())
assert {"tqdm", "numpy", "pyarrow"} <= lacks
"""


TO_SUBMIT = ["-p", 'sources=["gs://b/x"]', "-p", "registry=gs://b/r", "-p", "serving_directory=gs://b/s"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["compile", "train_and_deploy", "OUT", "--images", "my-registry/my-team"], 0, "Wrote "),
        (["components", "list"], 0, "finetune_bert"),
        (["components", "copy", "finetune_bert", "OUT"], 0, "Wrote "),
        (["pipelines", "show", "train_and_deploy"], 0, "min_improvement"),
        (["submit", "train_and_deploy", "--host", "http://127.0.0.1:9", *TO_SUBMIT], 1, "127.0.0.1"),
        (["schedule", "list", "--host", "http://127.0.0.1:9"], 1, "127.0.0.1"),
        (["doctor"], None, "kfp"),
    ],
)
def test_what_a_cluster_is_given_needs_no_extra(tmp_path, arguments, code, says):
    arguments = [str(tmp_path / "out.yaml") if one == "OUT" else one for one in arguments]
    done = subprocess.run(
        [sys.executable, "-c", BARE + COMMAND, *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert code is None or done.returncode == code, done.stderr
    assert says in done.stdout + done.stderr
    assert "is not installed" not in done.stderr and "Traceback" not in done.stderr


def test_the_package_compiles_without_an_extra(tmp_path):
    code = "from kfp_bert_components import compile, pipelines; compile(pipelines.train_and_deploy, sys.argv[1])"
    command = [sys.executable, "-c", BARE + code, str(tmp_path / "out.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pipelineInfo" in (tmp_path / "out.yaml").read_text()
