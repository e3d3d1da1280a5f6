"""The parameters of a pipeline on the command line and in a file."""

from typing import Any

import click

from kfp_bert_components.cli.folders import LocalFile
from kfp_bert_components.cli.groups import bundled
from kfp_bert_components.errors import UserError, reason_of

parameter_options = bundled(
    "parameters",
    click.option("--param", "-p", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the pipeline."),
    click.option(
        "--params-file",
        metavar="FILE",
        type=LocalFile(),
        help="YAML or JSON file with parameters by name; --param wins.",
    ),
)


def read_arguments(spec: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a compiled pipeline, from the options; UserError where they don't fit it."""
    from kfp_bert_components.local.arguments import parse_arguments
    from kfp_bert_components.validation import load_yaml

    path, values = parameters["params_file"], {}
    if path:
        try:
            values = load_yaml(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--params-file {path} can't be read: {reason_of(error)}.") from None
        except UserError as error:
            raise UserError(f"--params-file {path}{error}") from None
        if not isinstance(values, dict):
            raise UserError(f"--params-file {path} must be a mapping of names to values, such as epochs: 3.")
    return parse_arguments(spec, parameters["params"], values)
