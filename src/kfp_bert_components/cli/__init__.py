"""The command `kfp-bert`. Each of its commands is a module, imported when it is called."""

import signal
import sys
from importlib import import_module
from types import FrameType
from typing import NoReturn

import click

from kfp_bert_components import __version__
from kfp_bert_components.cli.groups import Group, example
from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.extras import missing_extra

COMMANDS = {
    "quickstart": "Run the main pipeline on a bundled sample, from data to a served model.",
    "run": "Run a pipeline on this machine.",
    "compile": "Write a pipeline to the YAML file that a cluster takes.",
    "submit": "Run a pipeline on Kubeflow Pipelines or on AI Platform.",
    "schedule": "Run a pipeline on a schedule, on Kubeflow Pipelines or on AI Platform.",
    "pipelines": "List, show and copy the ready pipelines.",
    "components": "List, show, copy and verify the components.",
    "predict": "Predict each row of a table.",
    "serve": "Serve a model over HTTP.",
    "registry": "Look at the versions of a registry, go back to an older one, check, repair and clean the registry.",
    "jobs": "Look at the jobs that run on AI Platform or as TrainJobs, and cancel them.",
    "doctor": "Say what does not work on this machine, and how to fix it.",
}


class _LazyGroup(Group):
    """A group that imports the module of a command only if it is called, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return import_module(f"{__name__}.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example("kfp-bert quickstart", "kfp-bert pipelines show train_and_deploy"),
)
@click.version_option(__version__, prog_name="kfp-bert")
def group() -> None:
    """Fine-tune BERT in Kubeflow pipelines and deploy it only if it is better."""


def main() -> NoReturn:
    """Run the command line and exit: with code 1 and a sentence for an error of this package, with 130 after Ctrl-C.

    SIGTERM is taken as Ctrl-C is.
    """
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, _interrupt)
    try:
        group(standalone_mode=False)
    except (UserError, TransientError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except ImportError as error:
        if not (sentence := missing_extra(str(error))):
            raise
        click.echo(f"error: {sentence}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped", err=True)
        sys.exit(130)
    sys.exit(0)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
