"""Checks the Python of the documentation: run where it can be, else its imports and its calls."""

import ast
import builtins
import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import kfp_bert_components as package
from kfp_bert_components import pipelines

# What needs a cloud, a cluster or the network.
REMOTE = {"Client", "aiplatform", "load_component_from_url"}


def can_run(tree: ast.Module) -> bool:
    """Whether a block defines all that it uses, calls no component outside a pipeline, and stays on this machine."""
    stored, loaded = set(dir(builtins)), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (loaded if isinstance(node.ctx, ast.Load) else stored).add(node.id)
        elif isinstance(node, ast.FunctionDef):
            stored |= {node.name, *(one.arg for one in node.args.args)}
        elif isinstance(node, ast.alias):
            stored.add((node.asname or node.name).partition(".")[0])
    inside = {id(call) for one in ast.walk(tree) if isinstance(one, ast.FunctionDef) for call in _calls(one)}
    loose = [one for one in _calls(tree) if id(one) not in inside and ast.unparse(one.func) in package.COMPONENTS]
    return loaded <= stored and not loaded & REMOTE and not loose


def check_python(tree: ast.Module) -> None:
    """Import what a block imports, and bind the arguments of its calls to what it calls."""
    names: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {(one.asname or one.name.partition(".")[0]): import_module(one.name) for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {one.asname or one.name: _imported(str(node.module), one.name) for one in node.names}
    for call in _calls(tree):
        called = ast.unparse(call.func)
        known = names.get(called) or (getattr(package, called) if called in package.COMPONENTS else None)
        given = [one.arg for one in call.keywords if one.arg]
        if hasattr(known, "component_spec"):
            inputs = known.component_spec.inputs or {}
            assert not call.args or has_rest(call), f"{called} takes its inputs by name"
            assert set(given) <= set(inputs), f"{called} has no input {', '.join(set(given) - set(inputs))}"
            if names.get(called):  # else the pipeline around it may be left out, with what it gives
                needed = {name for name, one in inputs.items() if not one.optional}
                assert needed <= set(given) or has_rest(call), f"{called} lacks {', '.join(needed - set(given))}"
        elif inspect.isfunction(known):
            inspect.signature(known).bind(*call.args, **dict.fromkeys(given))


def has_rest(call: ast.Call) -> bool:
    """Whether a call says with `...` that something is left out."""
    return any(isinstance(one, ast.Constant) and one.value is ... for one in call.args)


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _imported(module: str, name: str) -> Any:
    if module == package.__name__ and name in package.COMPONENTS:
        return getattr(package, name)
    if module == pipelines.__name__:
        return getattr(pipelines, name)
    loaded = import_module(module)
    return getattr(loaded, name) if hasattr(loaded, name) else import_module(f"{module}.{name}")
