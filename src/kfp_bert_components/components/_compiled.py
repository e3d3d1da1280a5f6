"""A pipeline as the YAML that KFP's compiler writes: read, and made a pipeline again after a change."""

import tempfile
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler, components
from kfp.dsl import base_component, yaml_component

from kfp_bert_components.errors import UserError, reason_of


def compiled_text(pipeline: Any) -> str:
    """The compiled form of a pipeline, a component, or the path of one that is compiled already."""
    if isinstance(pipeline, yaml_component.YamlComponent):
        return pipeline.component_yaml
    if isinstance(pipeline, str | Path):
        try:
            return Path(pipeline).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{pipeline} can't be read: check its name ({reason_of(error)}).") from None
    if not isinstance(pipeline, base_component.BaseComponent):
        raise UserError(f"{pipeline!r} is no pipeline: give a pipeline, a component, or the path of a compiled one.")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "pipeline.yaml"
        compile_with_kfp(pipeline, path)
        return path.read_text()


def compile_with_kfp(pipeline: base_component.BaseComponent, target: Path) -> None:
    """Compile a pipeline or a component with KFP's compiler.

    Raises:
        UserError: The default of a parameter has a line break. KFP writes it into a comment, where it ends the comment.
    """
    inputs = pipeline.component_spec.inputs or {}
    defaults = {name: one.default for name, one in inputs.items() if isinstance(one.default, str)}
    broken = [name for name, default in defaults.items() if len(default.splitlines()) > 1]
    if broken:
        raise UserError(
            f"{pipeline.name}: the default of {', '.join(broken)} has a line break, of which KFP makes a file that "
            "can't be read: write the default in one line, or give the value when you start the pipeline."
        )
    compiler.Compiler().compile(pipeline, str(target))


def compiled_documents(name: str, text: str) -> list[dict[str, Any]]:
    """The specification of a pipeline and, where there is one, that of its platforms; `name` is for errors."""
    try:
        documents = [one for one in yaml.safe_load_all(text) if one is not None]
    except yaml.YAMLError:
        documents = []
    if not documents or not isinstance(documents[0], dict) or "deploymentSpec" not in documents[0]:
        raise UserError(f"{name} is no compiled KFP pipeline: expected YAML with a deploymentSpec.")
    if [one for one in documents[1:] if not isinstance(one, dict) or not isinstance(one.get("platforms"), dict)]:
        raise UserError(f"{name} is no compiled KFP pipeline: the second document in it has no platforms.")
    return documents


def as_pipeline(documents: list[dict[str, Any]], comments: str) -> yaml_component.YamlComponent:
    """The pipeline of changed documents, as KFP's compiler writes it: comments above, sorted keys."""
    return components.load_component_from_text(comments + yaml.dump_all(documents, sort_keys=True))


def comments_of(text: str) -> str:
    """The lines above a compiled pipeline that describe it."""
    return "".join(takewhile(lambda line: line.startswith("#"), text.splitlines(keepends=True)))
