"""The images that the components run in: their names, and where a cluster pulls them from."""

import os
import re
import tempfile
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler, components, dsl
from kfp.dsl import base_component, yaml_component

from kfp_bert_components import __version__
from kfp_bert_components.errors import UserError

_DEFAULT = "kfp-bert-components"
# As container engines read a name: a host is what has a dot or a port, or is localhost; all else is lower case.
_HOST = r"(?:localhost|[\w-]+(?:\.[\w-]+)+|[\w-]+(?=:))(?::\d+)?"
_WORD = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"


def _place(images: str) -> str:
    """Where images lie, without a slash at its end; UserError where none can lie."""
    place = images.rstrip("/") if isinstance(images, str) else ""
    if not re.fullmatch(rf"(?:{_HOST}|{_WORD})(?:/{_WORD})*", place, re.ASCII):
        raise UserError(
            f"No images can lie at {images!r}: expected a registry and a path in lower case, without https:// and "
            "without a tag, such as registry.example.com/my-team."
        )
    return place


# Read when a pipeline is compiled. The committed specs have the default.
PLACE = _place(os.environ.get("KFP_BERT_IMAGES") or _DEFAULT)
# "python" in the name is what kfp.local looks for in an image whose steps it may run as subprocesses.
SLIM_IMAGE = f"{PLACE}/python:{__version__}"
TENSORFLOW_IMAGE = f"{PLACE}/python-tensorflow:{__version__}"

# The images hold the package and the executor of KFP: nothing is installed when a step starts.
slim_component = partial(dsl.component, base_image=SLIM_IMAGE, install_kfp_package=False)
tensorflow_component = partial(dsl.component, base_image=TENSORFLOW_IMAGE, install_kfp_package=False)


def use_images(pipeline: base_component.BaseComponent | str | Path, images: str) -> yaml_component.YamlComponent:
    """A pipeline whose steps pull this package's images from your registry.

    It works alike for components that were imported and for specs that were loaded by URL. Only the place of this
    package's images changes: their names and versions stay, and so does every other image.

    Args:
        pipeline: A pipeline or a component, or the path of a compiled one, such as "pipeline.yaml".
        images: Where the images lie, such as "registry.example.com/my-team". A slash at its end does no harm.

    Returns:
        The pipeline: to compile, to submit, or to use as a step of another one. `component_yaml` is its text.

    Raises:
        UserError: `pipeline` is no pipeline or has none of this package's images, or no image can lie at `images`.
    """
    place = _place(images)
    name = pipeline.name if isinstance(pipeline, base_component.BaseComponent) else str(pipeline)
    text = _text(pipeline)
    documents = _documents(name, text)
    executors = documents[0]["deploymentSpec"].get("executors", {}).values()
    containers = [executor["container"] for executor in executors if "container" in executor]
    places = "|".join(map(re.escape, {_DEFAULT, PLACE, place}))
    ours = re.compile(rf"(?:{places})/(python(?:-tensorflow)?(?:[:@].+)?)")
    if not any(ours.fullmatch(container["image"]) for container in containers):
        images_there = ", ".join(sorted({container["image"] for container in containers})) or "none"
        raise UserError(
            f"{name} has no image of {_DEFAULT}, which could be pulled from {place}; it has {images_there}."
        )
    for container in containers:
        if match := ours.fullmatch(container["image"]):
            container["image"] = f"{place}/{match[1]}"
    # As KFP's compiler writes it: comments that describe the pipeline, and sorted keys.
    comments = "".join(takewhile(lambda line: line.startswith("#"), text.splitlines(keepends=True)))
    return components.load_component_from_text(comments + yaml.dump_all(documents, sort_keys=True))


def _text(pipeline: Any) -> str:
    if isinstance(pipeline, yaml_component.YamlComponent):
        return pipeline.component_yaml
    if isinstance(pipeline, str | Path):
        try:
            return Path(pipeline).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{pipeline} cannot be read as a compiled pipeline: {error}.") from None
    if not isinstance(pipeline, base_component.BaseComponent):
        raise UserError(f"{pipeline!r} is no pipeline: give a pipeline, a component, or the path of a compiled one.")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        return path.read_text()


def _documents(name: str, text: str) -> list[dict[str, Any]]:
    """The specification of a pipeline and, where there is one, that of its platform."""
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError:
        documents = []
    if not documents or not isinstance(documents[0], dict) or "deploymentSpec" not in documents[0]:
        raise UserError(f"{name} is no compiled KFP pipeline: expected YAML with a deploymentSpec.")
    return documents
