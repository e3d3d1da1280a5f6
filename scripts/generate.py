"""Generates the component specs, their READMEs, the catalogue, and the CLI reference.

python scripts/generate.py            writes them
python scripts/generate.py --check    exits with 1 and names the files that are not as generated
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from kfp import compiler

import kfp_bert_components as package
from kfp_bert_components import cli

ROOT = Path(__file__).resolve().parent.parent
TYPES = {
    "STRING": "str",
    "NUMBER_INTEGER": "int",
    "NUMBER_DOUBLE": "float",
    "BOOLEAN": "bool",
    "LIST": "list",
    "STRUCT": "dict",
    "TASK_FINAL_STATUS": "PipelineTaskFinalStatus",
}
TEMPLATES = Environment(
    loader=FileSystemLoader(ROOT / "scripts" / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def generate() -> Iterator[tuple[Path, str]]:
    """Every generated file, as its path in the repository and its text."""
    entries = []
    for name in package.COMPONENTS:
        spec_text = _compile(getattr(package, name))
        folder = Path("component_specs") / name
        entry = _describe(name, yaml.safe_load(spec_text))
        entries.append(entry)
        yield folder / "component.yaml", spec_text
        yield folder / "README.md", _render("component.md", component=entry)
    yield Path("component_specs/README.md"), _render("catalogue.md", components=entries)
    yield Path("docs/cli.md"), _render("cli.md", commands=list(_commands()))


def _render(template: str, **context: Any) -> str:
    return TEMPLATES.get_template(template).render(version=package.__version__, **context)


def _compile(component: Any) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "component.yaml"
        compiler.Compiler().compile(component, str(path))
        return path.read_text()


def _describe(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """What a reader of the README wants to know of a compiled component."""
    inputs, outputs = spec["root"].get("inputDefinitions", {}), spec["root"].get("outputDefinitions", {})
    executor = next(iter(spec["deploymentSpec"]["executors"].values()))
    function = getattr(package, name).component_spec
    return {
        "name": name,
        "description": function.description or "",
        "image": executor["container"]["image"],
        "inputs": list(_artifacts(inputs)) + list(_parameters(inputs)),
        "outputs": list(_artifacts(outputs)) + list(_parameters(outputs)),
    }


def _artifacts(definitions: dict[str, Any]) -> Iterator[dict[str, str]]:
    for name, artifact in definitions.get("artifacts", {}).items():
        kind = artifact["artifactType"]["schemaTitle"].removeprefix("system.")
        yield {"name": name, "type": kind, "default": "", "description": _one_line(artifact)}


def _parameters(definitions: dict[str, Any]) -> Iterator[dict[str, str]]:
    for name, parameter in definitions.get("parameters", {}).items():
        default = repr(parameter["defaultValue"]) if "defaultValue" in parameter else ""
        kind = TYPES[parameter["parameterType"]]
        yield {"name": name, "type": kind, "default": default, "description": _one_line(parameter)}


def _one_line(definition: dict[str, Any]) -> str:
    return " ".join(definition.get("description", "").split()).replace("|", "\\|")


def _commands() -> Iterator[dict[str, str]]:
    """The help text of each command, subcommands included."""
    root = click.Context(cli.group, info_name="kfp-bert")
    yield {"name": "kfp-bert", "help": cli.group.get_help(root)}
    for name in cli.group.list_commands(root):
        command = cli.group.get_command(root, name)
        assert command is not None
        yield from _helps(command, click.Context(command, info_name=name, parent=root))


def _helps(command: click.Command, context: click.Context) -> Iterator[dict[str, str]]:
    yield {"name": context.command_path, "help": command.get_help(context)}
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            subcommand = command.get_command(context, name)
            assert subcommand is not None
            yield from _helps(subcommand, click.Context(subcommand, info_name=name, parent=context))


def _comparable(text: str) -> str:
    # The version of the SDK is the only line of a spec that differs between releases of kfp.
    return re.sub(r"^sdkVersion: .*$", "", text, flags=re.MULTILINE)


def main() -> int:
    """Write the files, or with --check name those that differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a file is out of date")
    check = parser.parse_args().check
    stale = []
    for path, text in generate():
        target = ROOT / path
        if target.exists() and _comparable(target.read_text()) == _comparable(text):
            continue
        stale.append(path)
        if not check:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
    for path in stale:
        print(f"out of date: {path} (run `make generate`)" if check else f"wrote {path}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
