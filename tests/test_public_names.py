"""Tests and benchmarks use what other code may use too: no name that starts with an underscore."""

import ast

import pytest

from tests.conftest import ROOT

# Documented in spite of their underscore: of os, and of named tuples.
DOCUMENTED = {"_exit", "_asdict", "_fields", "_make", "_replace"}
OWN = ("self", "cls")
BY_NAME = ("getattr", "setattr", "delattr", "hasattr")
FILES = sorted(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in DOCUMENTED


def private_uses(tree: ast.AST) -> list[str]:
    """Private names of other modules, classes and objects that the code imports or touches: `line: name`."""
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.ImportFrom):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id in OWN):
            names = [node.attr]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in BY_NAME:
            names = [a.value for a in node.args[1:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        found += [f"line {node.lineno}: {name}" for name in names if is_private(name)]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_private_name_is_used(path):
    assert private_uses(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "code",
    [
        "import package._module",
        "from package._module import name",
        "from package import _name",
        "package.module._name()",
        "monkeypatch.setattr(module, '_name', 1)",
    ],
)
def test_private_names_are_seen(code):
    assert private_uses(ast.parse(code))


@pytest.mark.parametrize("code", ["from package import __version__", "self._x = 1", "os._exit(1)", "__import__('os')"])
def test_what_is_allowed_is_allowed(code):
    assert private_uses(ast.parse(code)) == []
