"""Checks the commands of the documentation without running them."""

import ast
import json
import re
import shlex
import tomllib
from pathlib import Path

import click

from kfp_bert_components import cli, pipelines
from tests.conftest import ROOT

# Programs of others: the shell's grammar is checked, and the files of ours that they are given.
FOREIGN = {
    "aws",
    "cd",
    "cp",
    "curl",
    "docker",
    "export",
    "gcloud",
    "git",
    "head",
    "jupyter",
    "kubectl",
    "mkdir",
    "source",
}
_OURS = ("benchmarks/", "component_specs/", "docker/", "docs/", "examples/", "scripts/", "src/", "tests/")


def command_lines(text: str) -> list[str]:
    """The commands of a block of shell, one a line, without comments."""
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def check_command(line: str) -> None:
    """AssertionError where a command can't be understood by what it calls."""
    words = shlex.split(re.split(r"\s(?:\||>|&&|&$)", line)[0], comments=True)
    while words and re.match(r"\w+=", words[0]):
        variable = words.pop(0).partition("=")[0]
        assert not variable.startswith("KFP_BERT_") or known_variable(variable), f"nothing reads {variable}"
    if not words:
        return
    for word in words:
        if word.startswith(_OURS):
            assert (ROOT / word).exists(), f"there is no {word}"
    program = Path(words[0]).name
    if program == "kfp-bert":
        parse(words[1:])
    elif program == "make":
        for target in words[1:]:
            assert "=" in target or re.search(rf"^{target}:|^{target.split('-')[0]}-%:", _makefile(), re.M), target
    elif program.startswith("python"):
        if words[1] == "-c":
            ast.parse(words[2])
    elif program == "pip":
        assert words[1] == "install", "pip only installs here"
        check_packages(words[2:])
    else:
        assert program in FOREIGN, f"{program} is no command that tests/docs/commands.py knows"
        if program == "curl" and "-d" in words:
            json.loads(words[words.index("-d") + 1])


def parse(words: list[str]) -> None:
    """Let the command line parse the words after kfp-bert, and check parameters by the ready pipeline they are for."""
    try:
        context, rest = cli.group.make_context("kfp-bert", list(words)), list(words)
        while isinstance(context.command, click.Group):
            name, command, rest = context.command.resolve_command(context, rest)
            context = command.make_context(name, list(rest), parent=context)
    except click.ClickException as error:
        raise AssertionError(f"kfp-bert {shlex.join(words)}: {error.format_message()}") from None
    except click.exceptions.Exit:  # --help, --version
        return
    given = context.params.get("pipeline")
    if given in pipelines.__all__:
        known = getattr(pipelines, given).component_spec.inputs
        for one in context.params.get("params") or ():
            name = one.partition("=")[0] if isinstance(one, str) else one[0]
            assert name in known, f"{given} has no parameter {name}"


def check_mentioned(text: str) -> None:
    """Check a command in a sentence, of which parts may be left out: it is there, and so are its options."""
    words = re.split(r"\s+", text.split("#")[0].strip())
    if words[0] == "make" and len(words) > 1 and re.fullmatch(r"[a-z-]+", words[1]):
        assert re.search(rf"^{words[1]}:", _makefile(), re.M) or words[1].startswith("bench-"), f"no target {words[1]}"
    if words[0] != "kfp-bert":
        return
    command: click.Command = cli.group
    context = click.Context(command, info_name="kfp-bert")
    for word in words[1:]:
        if isinstance(command, click.Group) and re.fullmatch(r"[a-z][a-z-]*", word):
            found = command.get_command(context, word)
            assert found, f"there is no command {word} in {command.name}"
            command = found
            context = click.Context(command, info_name=word, parent=context)
        elif option := re.match(r"\[?(--?[a-z][a-z-]*)", word):
            known = {name for one in command.get_params(context) for name in (*one.opts, *one.secondary_opts)}
            assert option[1] in known | {"-h", "--help"}, f"{command.name} has no option {option[1]}"


def check_packages(words: list[str]) -> None:
    """Check the extras of this package."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in words:
        if found := re.match(r"(?:kfp-bert-components|\.)\[([\w,-]+)\]", word):
            assert set(found[1].split(",")) <= set(extras), f"there is no such extra: {word}"


def known_variable(name: str) -> bool:
    """Whether the code, or its tests, read a variable of the environment."""
    return any(name in path.read_text() for folder in ("src", "tests") for path in (ROOT / folder).rglob("*.py"))


def _makefile() -> str:
    return (ROOT / "Makefile").read_text()
