"""Generates the component specs, their READMEs, catalogue, interfaces and checksums, the pages of the reference, the
stubs by which editors show what a component takes, and the badges of the README.

python scripts/generate.py            writes them
python scripts/generate.py --check    exits with 1 and names the files that are not as generated
"""

import argparse
import hashlib
import inspect
import json
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import yaml
from error_sentences import sentences
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import kfp_bert_components as package
from kfp_bert_components import addresses, cli, pipelines
from kfp_bert_components.components._compiled import compiled_text
from kfp_bert_components.components._interface import inputs_of, outputs_of
from kfp_bert_components.gate import policy_schema

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = Environment(
    loader=FileSystemLoader(ROOT / "scripts" / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
TEMPLATES.filters["cell"] = lambda text: text.replace("|", "\\|")
TEMPLATES.filters["repr"] = repr
TEMPLATES.filters["quoted"] = lambda value: json.dumps(value) if isinstance(value, str) else repr(value)
# The type of an input as a stub has it: without its module, and in today's spelling.
TEMPLATES.filters["hint"] = lambda hint: re.sub(
    r"\b(List|Dict)\b", lambda found: found[1].lower(), re.sub(r"^kfp[.\w]*\.", "", inspect.formatannotation(hint))
)
TEMPLATES.filters["plain"] = lambda text: re.sub(r"([\\`*{}\[\]<>#|~])", r"\\\1", text)
BY_HAND = yaml.safe_load((ROOT / "scripts" / "templates" / "components.yaml").read_text())
# The records with more than one format, and where the newest number stands.
FORMATS = {
    "`bundle.json`": "bert.bundle:FORMAT",
    "`data_profile.json`": "data.profile:FORMAT",
    "`evaluation.json`": "evaluation.records:FORMAT",
    "`decision.json`": "gate.decision:FORMAT",
    "`versions/<n>/version.json` in the registry": "registry._read:VERSION_FORMAT",
    "`versions/<n>/claim.json` in the registry": "registry._claim:FORMAT",
    "`deployments/<target>.json` in the registry": "registry._deployments:FORMAT",
    "`lease.json` of a job": "leases:FORMAT",
}
# Parts of the package whose errors belong together: a heading, and the page about them.
PARTS = {
    "storage": ("Buckets and folders", "storage.md"),
    "fetch": ("Fetching", "fetch.md"),
    "tables": ("Tables", "data.md"),
    "data": ("Preparing data", "data.md"),
    "bert": ("BERT and the model bundle", "bert.md"),
    "training": ("Training", "training.md"),
    "evaluation": ("Evaluation", "gate.md"),
    "gate": ("The gate", "gate.md"),
    "registry": ("The registry", "registry.md"),
    "deployment": ("Deployment", "deployment.md"),
    "ai_platform": ("AI Platform", "deployment.md"),
    "kserve": ("KServe", "kserve.md"),
    "jobs": ("Jobs", "deployment.md"),
    "trainjob": ("Training on several nodes", "training.md"),
    "kubernetes_api": ("Kubernetes", "permissions.md"),
    "prediction": ("Predicting a table", "batch.md"),
    "mirrors": ("Mirrors", "mirrors.md"),
    "serving": ("The server", "serving.md"),
    "steps": ("Steps", "troubleshooting.md"),
    "components": ("Images", "images.md"),
    "compiling": ("Compiling for a cluster", "cluster.md"),
    "local": ("Running on this machine", "cli.md"),
    "cli": ("The command line", "cli.md"),
    "extras": ("What is not installed", "../README.md"),
    "records": ("Records", "formats.md"),
    "validation": ("Settings", "troubleshooting.md"),
}


def generate() -> Iterator[tuple[Path, str]]:
    """Every generated file, as its path in the repository and its text."""
    entries, sums, specs = [], [], Path("component_specs")
    for name in package.COMPONENTS:
        path = specs / name / "component.yaml"
        spec_text = _kept(path, compiled_text(getattr(package, name)))
        entry = _describe(name, yaml.safe_load(spec_text))
        entries.append(entry)
        sums.append(f"{hashlib.sha256(spec_text.encode()).hexdigest()}  {path.relative_to(specs)}\n")
        yield path, spec_text
        yield path.with_name("README.md"), _render("component.md", component=entry)
    yield specs / "README.md", _render("catalogue.md", components=entries)
    yield specs / "interfaces.json", _interfaces(entries)
    yield specs / "SHA256SUMS", "".join(sums)
    yield Path("src/kfp_bert_components/__init__.pyi"), _render("stubs.jinja", components=list(_signatures()))
    for label, value in _badges():
        yield Path("docs/badges") / f"{label}.svg", _render("badge.jinja", label=label, value=value)
    yield Path("docs/cli.md"), _render("cli.md", commands=list(_commands()))
    yield Path("docs/pipelines.md"), _render("pipelines.md", pipelines=list(_pipelines()))
    yield Path("docs/policy.md"), _render("policy.md", rules=list(_rules()))
    yield Path("docs/formats.md"), _render("formats.md", formats={one: _named(at) for one, at in FORMATS.items()})
    found = sentences()
    if found.keys() != PARTS.keys():
        raise SystemExit(f"PARTS does not name the parts with errors: {', '.join(found.keys() ^ PARTS.keys())}")
    parts = [(title, page, found[part]) for part, (title, page) in PARTS.items()]
    yield Path("docs/errors.md"), _render("errors.md", parts=parts)


def _render(template: str, **context: Any) -> str:
    return TEMPLATES.get_template(template).render(addresses=addresses, version=package.__version__, **context)


def _kept(path: Path, text: str) -> str:
    """What is on disk where it is as good as `text`, so that another release of kfp changes no checksum."""
    target = ROOT / path
    there = target.read_text() if target.exists() else ""
    return there if _comparable(there) == _comparable(text) else text


def _describe(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """What a reader of the README wants to know of a compiled component."""
    executor = next(iter(spec["deploymentSpec"]["executors"].values()))
    with tempfile.TemporaryDirectory() as scratch:
        compiled = yaml.safe_load(package.compile(getattr(package, name), Path(scratch) / "spec.yaml").component_yaml)
    resources = next(iter(compiled["deploymentSpec"]["executors"].values()))["container"]["resources"]
    by_hand = BY_HAND[name]
    return {
        "name": name,
        "description": getattr(package, name).component_spec.description or "",
        "image": executor["container"]["image"],
        "cpu": resources["resourceCpuRequest"],
        "memory": resources["resourceMemoryRequest"],
        "inputs": inputs_of(spec),
        "outputs": outputs_of(spec),
        "errors": _errors(by_hand.get("raises", f"kfp_bert_components.steps.{name}:{name}")),
        "page": by_hand["page"],
        "call": by_hand["call"],
    }


def _signatures() -> Iterator[dict[str, Any]]:
    """What a stub says of each component."""
    for name in package.COMPONENTS:
        component = getattr(package, name)
        parameters = inspect.signature(component).parameters.values()
        yield {"name": name, "help": inspect.getdoc(component), "parameters": list(parameters)}


def _badges() -> Iterator[tuple[str, str]]:
    """What pyproject.toml and addresses.py say, as label and value."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    minors = [int(one.rsplit(".", 1)[1]) for one in project["classifiers"] if ":: Python :: 3." in one]
    yield "python", f"3.{min(minors)} to 3.{max(minors)}"
    (kfp,) = (one for one in project["dependencies"] if one.startswith("kfp["))
    yield "kfp", re.sub(r"[^>]*>=([\d.]+).*", r"\1 or newer", kfp)
    yield "licence", project["license"]
    yield "release", package.__version__ if addresses.RELEASED else "not yet"


def _errors(function: str) -> dict[str, str]:
    """What a function raises, and when, as its docstring says it."""
    docstring = inspect.getdoc(_named(function)) or ""
    lines = inspect.cleandoc(docstring.partition("Raises:\n")[2].partition("\n\n")[0])
    found = re.split(r"^(\w+): ", lines, flags=re.MULTILINE)[1:]
    if not found:
        raise SystemExit(f"{function} does not say what it raises: it needs a section Raises in its docstring.")
    return {name: " ".join(when.split()) for name, when in zip(found[::2], found[1::2], strict=True)}


def _named(place: str) -> Any:
    """What has a name in a module, as module:name; the name of this package may be left out."""
    module, _, name = place.partition(":")
    prefix = "" if module.startswith(f"{package.__name__}.") else f"{package.__name__}."
    return getattr(import_module(prefix + module), name)


def _pipelines() -> Iterator[dict[str, Any]]:
    for name in pipelines.__all__:
        pipeline = getattr(pipelines, name)
        spec = yaml.safe_load(compiled_text(pipeline).split("\n---\n")[0])
        yield {"name": name, "description": pipeline.description or "", "parameters": inputs_of(spec)}


def _rules() -> Iterator[dict[str, str]]:
    """The rules of a policy, from its JSON schema."""
    bounds = {"minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "to {}", "exclusiveMaximum": "below {}"}
    for name, rule in policy_schema()["properties"].items():
        allowed = [text.format(rule[key]) for key, text in bounds.items() if key in rule]
        yield {
            "name": name,
            "type": "mapping of names to numbers" if rule["type"] == "object" else rule["type"],
            "default": json.dumps(rule["default"]),
            "allowed": ", ".join(allowed or [f"`{json.dumps(one)}`" for one in rule.get("enum", [])]),
            "description": rule["description"],
        }


def _interfaces(entries: list[dict[str, Any]]) -> str:
    """The record that check_interfaces.py compares with that of the last release."""

    def recorded(ports: list[dict[str, Any]]) -> dict[str, Any]:
        return {one["name"]: {key: one[key] for key in ("type", "required", "default") if key in one} for one in ports}

    components = {one["name"]: {kind: recorded(one[kind]) for kind in ("inputs", "outputs")} for one in entries}
    return json.dumps({"format": 1, "version": package.__version__, "components": components}, indent=1) + "\n"


def _commands() -> Iterator[dict[str, str]]:
    """The help text of each command, subcommands included."""
    root = click.Context(cli.group, info_name="kfp-bert", **cli.group.context_settings)
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
