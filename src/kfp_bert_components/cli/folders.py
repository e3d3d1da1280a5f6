"""Folders of this machine as values of options."""

from pathlib import Path
from typing import Any

import click

from kfp_bert_components.storage import parse_address


class LocalFolder(click.ParamType):
    """A folder to write to: a path as in `parse_address`, never gs:// or another kind of storage."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The absolute path; UserError where it is no local one."""
        if isinstance(value, Path):  # the default, of which nothing is to be said
            return value.absolute()
        return parse_address(value, param.opts[0] if param else "the folder", schemes=["file"]).path
