"""The images that the components run in: their names, and where a cluster pulls them from."""

import inspect
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from kfp import dsl
from kfp.dsl import base_component, yaml_component

from kfp_bert_components import COMPONENTS, __version__
from kfp_bert_components.addresses import IMAGES
from kfp_bert_components.components._compiled import as_pipeline, comments_of, compiled_documents, compiled_text
from kfp_bert_components.errors import UserError

# As container engines read a name: a host is what has a dot or a port, or is localhost; all else is lower case.
_HOST = r"(?:localhost|[\w-]+(?:\.[\w-]+)+|[\w-]+(?=:))(?::\d+)?"
_WORD = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"


def image_place(images: str) -> str:
    """Where images lie, without a slash at its end; UserError where none can lie."""
    place = images.rstrip("/") if isinstance(images, str) else ""
    if not re.fullmatch(rf"(?:{_HOST}|{_WORD})(?:/{_WORD})*", place, re.ASCII):
        raise UserError(
            f"No images can lie at {images!r}: expected a registry and a path in lower case, without https:// and "
            "without a tag, such as registry.example.com/my-team."
        )
    return place


# Read when a pipeline is compiled. The committed specs have the default.
PLACE = image_place(os.environ.get("KFP_BERT_IMAGES") or IMAGES)
# "python" in the name is what kfp.local looks for in an image whose steps it may run as subprocesses.
SLIM_IMAGE = f"{PLACE}/python:{__version__}"
TENSORFLOW_IMAGE = f"{PLACE}/python-tensorflow:{__version__}"


def _component(function: Callable[..., Any], base_image: str) -> base_component.BaseComponent:
    """A component whose `inspect.signature` and `help()` are those of its inputs: KFP's says (*args, **kwargs)."""
    # The images hold the package and the executor of KFP: nothing is installed when a step starts.
    component = dsl.component(function, base_image=base_image, install_kfp_package=False)
    hints, parameters = get_type_hints(function), inspect.signature(function).parameters
    component.__signature__ = inspect.Signature(
        [
            parameters[name].replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
            for name in component.component_spec.inputs
            if hints[name] is not dsl.PipelineTaskFinalStatus  # KFP itself gives it
        ],
        return_annotation=dsl.PipelineTask,
    )
    component.__doc__ = function.__doc__
    return component


slim_component = partial(_component, base_image=SLIM_IMAGE)
tensorflow_component = partial(_component, base_image=TENSORFLOW_IMAGE)


def use_images(
    pipeline: base_component.BaseComponent | Callable[..., Any] | str | Path, images: str
) -> yaml_component.YamlComponent:
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
    place = image_place(images)
    name = pipeline.name if isinstance(pipeline, base_component.BaseComponent) else str(pipeline)
    text = compiled_text(pipeline)
    documents = compiled_documents(name, text)
    executors = documents[0]["deploymentSpec"].get("executors", {}).values()
    move_images(name, [(executor["container"], place) for executor in executors if "container" in executor])
    return as_pipeline(documents, comments_of(text))


def component_of(container: dict[str, Any]) -> str:
    """The component of this package that a container runs, in whatever image; "" where it is none."""
    name = (container.get("args") or [""])[-1]
    ours = any("from kfp_bert_components." in part for part in container.get("command", []))
    return name if ours and name in COMPONENTS else ""


def move_images(name: str, moves: list[tuple[dict[str, Any], str]]) -> None:
    """Let containers of a compiled pipeline pull this package's images from another place; others stay.

    A component of this package is known by itself: its image may have been moved before.

    Args:
        name: The pipeline's name, for the error.
        moves: Containers, each with its place as `image_place` gives it.

    Raises:
        UserError: There are containers, and none of them has an image of this package.
    """
    found = False
    for container, place in moves:
        places = ".+" if component_of(container) else "|".join(map(re.escape, {IMAGES, PLACE, place}))
        if match := re.fullmatch(rf"(?:{places})/(python(?:-tensorflow)?(?:[:@].+)?)", container["image"]):
            container["image"] = f"{place}/{match[1]}"
            found = True
    if not found:
        places_there = ", ".join(sorted({place for _, place in moves}))
        images_there = ", ".join(sorted({container["image"] for container, _ in moves})) or "none"
        raise UserError(
            f"{name} has no image of {IMAGES}, which could be pulled from {places_there}; it has {images_there}."
        )
