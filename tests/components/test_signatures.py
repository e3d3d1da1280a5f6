"""What a component takes is shown where people look: `inspect.signature`, `help()`, editors, and mypy."""

import ast
import inspect
import json
import re
import subprocess
import sys

import pytest
from kfp import dsl

import kfp_bert_components as package
from tests.conftest import ROOT

INTERFACES = json.loads((ROOT / "component_specs" / "interfaces.json").read_text())["components"]
TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}


@pytest.mark.parametrize("name", package.COMPONENTS)
def test_the_signature_of_a_component_is_that_of_its_inputs(name):
    component = getattr(package, name)
    shown = inspect.signature(component)
    inputs = {key: one for key, one in INTERFACES[name]["inputs"].items() if one["type"] != "PipelineTaskFinalStatus"}
    assert set(shown.parameters) == set(inputs)
    for key, one in inputs.items():
        parameter = shown.parameters[key]
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert (parameter.default is inspect.Parameter.empty) is one["required"]
        assert parameter.default == one.get("default", parameter.default)
        kind = TYPES.get(one["type"]) or getattr(dsl, one["type"])
        assert getattr(parameter.annotation, "__origin__", parameter.annotation) is kind
    assert shown.return_annotation is dsl.PipelineTask
    assert "Args:" in inspect.getdoc(component)


def test_the_stubs_name_all_that_the_package_has():
    tree = ast.parse((ROOT / "src" / "kfp_bert_components" / "__init__.pyi").read_text())
    named = {one.target.id for one in tree.body if isinstance(one, ast.AnnAssign)}
    imported = {alias.asname for one in tree.body if isinstance(one, ast.ImportFrom) for alias in one.names}
    assert named | imported - {None} == set(package.__all__)


@pytest.mark.slow
def test_mypy_accepts_the_examples_and_finds_a_wrong_name(tmp_path):
    main_pipeline = (ROOT / "examples" / "train_and_deploy.py").read_text()
    assert "base_model_pin=" in main_pipeline and "from kfp_bert_components import" in main_pipeline
    (tmp_path / "wrong.py").write_text(main_pipeline.replace("base_model_pin=", "base_model_pins="))
    said = mypy(tmp_path, "wrong.py", *(ROOT / "examples").glob("*.py"))
    assert re.search(
        r'^wrong\.py:\d+: error: Unexpected keyword argument "base_model_pins" for .*"_FinetuneBert"',
        said,
        re.MULTILINE,
    )
    assert said.count(": error: ") == 1, said


def mypy(folder, *files):
    """What mypy says, as one who uses the package runs it: KFP itself has no types."""
    command = [sys.executable, "-m", "mypy", "--ignore-missing-imports", "--check-untyped-defs"]
    done = subprocess.run(
        [*command, "--config-file=", f"--cache-dir={folder / 'cache'}", *files],
        cwd=folder,
        env={"MYPYPATH": str(ROOT / "src"), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert not done.stderr
    return done.stdout
