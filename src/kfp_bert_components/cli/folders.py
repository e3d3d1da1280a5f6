"""Folders and files of this machine as values of options and arguments."""

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


class LocalFile(click.Path):
    """A file to read or to write, never one on gs:// or another kind of storage."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path as it was given; UserError where it is no local one."""
        if "://" in str(value):
            name = param.opts[0] if param else ""
            value = parse_address(value, name if name.startswith("-") else name.upper(), schemes=["file"]).path
        return super().convert(value, param, ctx)
