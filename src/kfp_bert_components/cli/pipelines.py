"""`kfp-bert pipelines`: the ready pipelines of this package."""

import json
from pathlib import Path
from typing import Any

import click

from kfp_bert_components.cli.folders import LocalFile
from kfp_bert_components.cli.groups import Group, example, known, write_new
from kfp_bert_components.cli.ports import first_sentence, port_lines
from kfp_bert_components.errors import UserError


@click.group("pipelines", cls=Group, epilog=example("kfp-bert pipelines list"))
def command() -> None:
    """List the ready pipelines, show their parameters, copy one to edit it.

    `kfp-bert run`, `compile`, `submit` and `schedule create` take their names.
    """


@command.command("list", epilog=example("kfp-bert pipelines list --json"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_(as_json: bool) -> None:
    """List the ready pipelines, each with what it does."""
    found = [_described(name) for name in _names()]
    if as_json:
        click.echo(json.dumps([{key: one[key] for key in ("name", "description")} for one in found]))
        return
    for one in found:
        click.echo(f"{one['name']:<34} {first_sentence(one['description'])}")


@command.command(epilog=example("kfp-bert pipelines show train_and_deploy"))
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, as_json: bool) -> None:
    """Show every parameter of pipeline NAME, its default and its meaning."""
    one = _described(known("ready pipeline", name, _names()))
    if as_json:
        click.echo(json.dumps(one, indent=1))
        return
    click.echo(f"{one['description']}\n\nparameters")
    for line in port_lines(one["parameters"]):
        click.echo(line)


@command.command(epilog=example("kfp-bert pipelines copy train_and_deploy my_pipeline.py"))
@click.argument("name")
@click.argument("dest", type=LocalFile())
@click.option("--force", is_flag=True, help="Replace DEST if it is there.")
def copy(name: str, dest: Path, force: bool) -> None:
    """Write the whole pipeline NAME to the Python file DEST, to edit it.

    The file imports this package's components, and nothing else of the package. For the YAML file that a cluster takes,
    see kfp-bert compile.
    """
    known("ready pipeline", name, _names())
    if dest.suffix != ".py":
        raise UserError(f"{dest} must end with .py. A compiled file is written by: kfp-bert compile {name} {dest}.")
    write_new(dest, one_file(name), force)
    click.echo(f"Wrote {dest}. It runs by: kfp-bert run {dest}:{name}")


def one_file(name: str) -> str:
    """The source of a ready pipeline, with what it takes from the modules beside it above it."""
    import ast
    from importlib.util import find_spec

    from kfp_bert_components import pipelines

    imports: dict[str, set[str]] = {}
    bodies: list[str] = []

    def take(module: str) -> str:
        """Add a module, after those of this package's pipelines that it imports; its docstring."""
        found = find_spec(module)
        assert found is not None and found.origin is not None
        source = Path(found.origin).read_text(encoding="utf-8")
        tree = ast.parse(source)
        last = 0
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"{pipelines.__name__}."):
                take(str(node.module))
            elif isinstance(node, ast.ImportFrom):
                imports.setdefault(str(node.module), set()).update(one.name for one in node.names)
            elif not isinstance(node, ast.Expr):
                break
            last = node.end_lineno or last
        bodies.append("\n".join(source.splitlines()[last:]).strip("\n"))
        return ast.get_docstring(tree, clean=False) or ""

    docstring = take(f"{pipelines.__name__}.{name}")
    blocks = [_import_line(module, imports[module]) for module in sorted(imports, key=_section)]
    return f'"""{docstring}"""\n\n' + "\n\n".join(blocks) + "\n\n\n" + "\n\n\n".join(bodies) + "\n"


def _section(module: str) -> tuple[bool, bool, str]:
    """Where an import stands: the standard library, then libraries, then this package."""
    return module.startswith("kfp_bert"), module.startswith("kfp"), module


def _import_line(module: str, names: set[str]) -> str:
    line = f"from {module} import {', '.join(sorted(names))}"
    if len(line) <= 100:
        return line
    return "\n".join([f"from {module} import (", *(f"    {name}," for name in sorted(names)), ")"])


def _names() -> list[str]:
    from kfp_bert_components import pipelines

    return pipelines.__all__


def _described(name: str) -> dict[str, Any]:
    from kfp_bert_components import pipelines
    from kfp_bert_components.components._compiled import compiled_documents, compiled_text
    from kfp_bert_components.components._interface import inputs_of

    pipeline = getattr(pipelines, name)
    spec = compiled_documents(name, compiled_text(pipeline))[0]
    return {"name": name, "description": pipeline.description or "", "parameters": inputs_of(spec)}
