"""What commands have in common: groups that know what was meant, examples in help texts, options that go together."""

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click


class Group(click.Group):
    """A group that names the nearest command where one is not known, and options as they are typed in errors."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command to call; UsageError for an unknown one."""
        from kfp_bert_components.validation import did_you_mean

        name = args[0]
        if not name.startswith("-") and not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            raise click.UsageError(f"There is no command {name!r}; {did_you_mean(name, self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error that names its parameters as Python does names its options instead."""
        from kfp_bert_components.errors import TransientError, UserError

        try:
            return super().invoke(ctx)
        except (UserError, TransientError) as error:
            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            if command and error.args:
                error.args = (_with_options(str(error.args[0]), command), *error.args[1:])
            raise


def _with_options(message: str, command: click.Command) -> str:
    """A message with the names of parameters as options: text_column is --text-column.

    A name that may also be a usual word, such as header, is one at the start of the message and after "set". What
    follows a colon is a key of a file, such as `cluster.yaml: service_account is 5`. A command that takes parameters of
    a pipeline speaks of those, and what can't be read is a file.
    """
    takes_parameters = any(option.name == "params_file" for option in command.params)
    for option in () if takes_parameters else command.params:
        if isinstance(option, click.Option) and option.name:
            before = r"(?<![\w'\"`./=-])(?<!: )" if "_" in option.name else r"(?:^|(?<=\bset ))"
            message = re.sub(rf"{before}{option.name}(?![\w'\"`./-]| can't be read)", option.opts[0], message)
    return message


def example(*lines: str) -> str:
    """The end of a help text: command lines to copy, which click must not wrap."""
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])


def bundled(name: str, *options: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that adds options to a command. Their values arrive together, as the dictionary `name`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def command(**values: Any) -> Any:
            together = {key: values.pop(key) for key in keys}
            return function(**values, **{name: together})

        others = len(getattr(command, "__click_params__", []))
        for option in reversed(options):
            option(command)
        keys = [one.name for one in command.__click_params__[others:]]  # type: ignore[attr-defined]
        return command

    return decorate


def known(kind: str, name: str, names: tuple[str, ...] | list[str]) -> str:
    """`name`, if it is one of `names`; UserError with the nearest one otherwise."""
    from kfp_bert_components.errors import UserError
    from kfp_bert_components.validation import did_you_mean

    if name not in names:
        raise UserError(f"There is no {kind} {name!r}; {did_you_mean(name, names)}")
    return name


def write_new(target: Path, text: str, force: bool) -> None:
    """Write a file; UserError where it is there already, unless `force`, and where it can't be written."""
    from kfp_bert_components.errors import UserError

    try:
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(f"{target} is there already: name another file, or add --force to replace it.") from None
    except OSError as error:
        raise UserError(f"{target} can't be written: {error.strerror}.") from None
