"""Every command has an example that it understands, and an unknown command is answered with the nearest."""

import shlex

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from kfp_bert_components import cli
from tests.conftest import ROOT


def commands(command=cli.group, context=None):
    """Every command with its context, subcommands included."""
    context = context or click.Context(command, info_name="kfp-bert", **command.context_settings)
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            sub = command.get_command(context, name)
            yield from commands(sub, click.Context(sub, info_name=name, parent=context))


ALL = {context.command_path: (command, context) for command, context in commands()}


def examples(text):
    """The command lines below the word Example."""
    lines = text.partition("Example:\n")[2].replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


@pytest.mark.parametrize("path", ALL)
def test_a_help_text_ends_with_an_example_that_the_command_understands(path):
    command, context = ALL[path]
    found = examples(command.get_help(context))
    assert found, f"{path} --help has no example"
    for words in found:
        assert " ".join(words).startswith(path)
        parsed, rest = cli.group.make_context("kfp-bert", words[1:]), words[1:]
        while isinstance(parsed.command, click.Group):
            name, sub, rest = parsed.command.resolve_command(parsed, rest)
            parsed = sub.make_context(name, list(rest), parent=parsed)


@pytest.mark.parametrize("words", [["-h"], ["schedule", "-h"], ["schedule", "create", "-h"]])
def test_h_is_help(words):
    done = CliRunner().invoke(cli.group, words)
    assert done.exit_code == 0 and "Example:" in done.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["submt"], "There is no command 'submt'; did you mean 'submit'?"),
        (["schedule", "pasue"], "There is no command 'pasue'; did you mean 'pause'?"),
        (["registry", "zzz"], "There is no command 'zzz'; there are"),
        (["submit", "p", "--hots", "u"], "--host"),
    ],
)
def test_what_was_meant_is_said(words, says):
    done = CliRunner().invoke(cli.group, words)
    assert done.exit_code == 2 and says in done.output


def test_the_shell_completes_commands_and_options():
    def completed(*words):
        shell = BashComplete(cli.group, {}, "kfp-bert", "_KFP_BERT_COMPLETE")
        return [one.value for one in shell.get_completions(list(words[:-1]), words[-1])]

    assert completed("sch") == ["schedule"]
    assert completed("schedule", "p") == ["pause"]
    assert completed("submit", "--ho") == ["--host"]
    assert "_KFP_BERT_COMPLETE=bash_source kfp-bert" in (ROOT / "docs" / "cli.md").read_text()
