"""`kfp-bert components`: the components of this package and their specs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from kfp_bert_components import COMPONENTS, __version__
from kfp_bert_components.cli.folders import LocalFile
from kfp_bert_components.cli.groups import Group, example, known, write_new
from kfp_bert_components.cli.ports import first_sentence, port_lines
from kfp_bert_components.errors import UserError, reason_of


@click.group("components", cls=Group, epilog=example("kfp-bert components list"))
def command() -> None:
    """List the components, show what each takes and gives, copy and verify their specs."""


@command.command("list", epilog=example("kfp-bert components list --json"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_(as_json: bool) -> None:
    """List the components, each with what it does."""
    found = [_described(name) for name in COMPONENTS]
    if as_json:
        click.echo(json.dumps([{key: one[key] for key in ("name", "description", "image", "url")} for one in found]))
        return
    for one in found:
        click.echo(f"{one['name']:<28} {first_sentence(one['description'])}")


@command.command(epilog=example("kfp-bert components show finetune_bert"))
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, as_json: bool) -> None:
    """Show what component NAME takes and gives: types, defaults, meaning."""
    one = _described(known("component", name, COMPONENTS))
    if as_json:
        click.echo(json.dumps(one, indent=1))
        return
    click.echo(f"{one['description']}\n")
    click.echo(f"import  from kfp_bert_components import {name}")
    click.echo(f"image   {one['image']}\nurl     {one['url']}")
    _say_if_not_released()
    for kind in ("inputs", "outputs"):
        click.echo(f"\n{kind}")
        for line in port_lines(one[kind]):
            click.echo(line)


@command.command(epilog=example("kfp-bert components url finetune_bert"))
@click.argument("name")
def url(name: str) -> None:
    """Print the address of the spec of NAME, for kfp.components.load_component_from_url."""
    from kfp_bert_components.addresses import spec_url

    click.echo(spec_url(known("component", name, COMPONENTS)))
    _say_if_not_released()


@command.command(
    epilog=example("kfp-bert components copy finetune_bert finetune_bert.yaml --images my-registry/my-team")
)
@click.argument("name")
@click.argument("dest", type=LocalFile())
@click.option("--images", metavar="PLACE", help="Where the cluster pulls this package's images from.")
@click.option("--force", is_flag=True, help="Replace DEST if it is there.")
def copy(name: str, dest: Path, images: str | None, force: bool) -> None:
    """Write the spec of NAME to the YAML file DEST, for kfp.components.load_component_from_file."""
    import kfp_bert_components as package
    from kfp_bert_components.components._compiled import compiled_text

    component = getattr(package, known("component", name, COMPONENTS))
    if dest.suffix not in (".yaml", ".yml"):
        raise UserError(f"{dest} is no name of a spec: expected one that ends with .yaml.")
    write_new(dest, compiled_text(package.use_images(component, images) if images else component), force)
    click.echo(f"Wrote {dest}.")


@command.command(epilog=example("kfp-bert components verify finetune_bert.yaml --images my-registry/my-team"))
@click.argument("spec", metavar="URL|FILE")
@click.option("--images", metavar="PLACE", help="Place from which the spec's images may also come.")
def verify(spec: str, images: str | None) -> None:
    """Say whether a spec is equal to the spec in this version of the package.

    The images in the spec must have this version. They must come from the place that the package (or KFP_BERT_IMAGES)
    names, or from --images. The release of kfp that wrote the spec does not matter.
    """
    from kfp_bert_components.addresses import IMAGES
    from kfp_bert_components.components._compiled import compiled_documents
    from kfp_bert_components.components._images import PLACE

    given = compiled_documents(spec, _text(spec))
    name = str(given[0].get("pipelineInfo", {}).get("name", "")).replace("-", "_")
    known(f"component in {spec}: this package has none called", name, COMPONENTS)
    differences: list[str] = []
    for place in dict.fromkeys([images or PLACE, PLACE, IMAGES]):
        differences = differences or list(_differences(_own(name, place), _without_sdk(given)))
        if _own(name, place) == _without_sdk(given):
            click.echo(f"{spec} is {name} of version {__version__}, with images from {place}.")
            return
    more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
    raise UserError(
        f"{spec} is not {name} of version {__version__}: {'; '.join(differences[:5])}{more}. Take a spec of this "
        f"version (kfp-bert components copy {name}), install the version that it is of, or name the place of its "
        "images with --images."
    )


def _described(name: str) -> dict[str, Any]:
    import kfp_bert_components as package
    from kfp_bert_components.addresses import spec_url
    from kfp_bert_components.components._compiled import compiled_documents, compiled_text
    from kfp_bert_components.components._interface import inputs_of, outputs_of

    component = getattr(package, name)
    (spec,) = compiled_documents(name, compiled_text(component))
    (executor,) = spec["deploymentSpec"]["executors"].values()
    return {
        "name": name,
        "description": component.description or "",
        "image": executor["container"]["image"],
        "url": spec_url(name),
        "inputs": inputs_of(spec),
        "outputs": outputs_of(spec),
    }


def _say_if_not_released() -> None:
    from kfp_bert_components.addresses import NOT_RELEASED, RELEASED

    if not RELEASED:
        click.echo(f"{NOT_RELEASED} `kfp-bert components copy` writes a spec from this package.", err=True)


def _text(spec: str) -> str:
    """The text of a spec at an address or in a file."""
    from kfp.components import load_component_from_url
    from requests import HTTPError, RequestException

    from kfp_bert_components.components._compiled import compiled_text

    if not spec.startswith(("http://", "https://")):
        return compiled_text(spec)
    try:
        return load_component_from_url(spec).component_yaml
    except HTTPError as error:
        raise UserError(f"{spec} is not there: its server answered {error.response.status_code}.") from None
    except RequestException as error:
        host = urlsplit(spec).netloc
        raise UserError(f"{host} can't be reached: check the address and the network ({reason_of(error)}).") from None
    except ValueError as error:
        raise UserError(f"{spec} is no compiled component: {error}.") from None


def _own(name: str, place: str) -> list[dict[str, Any]]:
    import kfp_bert_components as package
    from kfp_bert_components.components._compiled import compiled_documents

    return _without_sdk(compiled_documents(name, package.use_images(getattr(package, name), place).component_yaml))


def _without_sdk(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in one.items() if key != "sdkVersion"} for one in documents]


def _differences(ours: Any, theirs: Any, place: str = "") -> Iterator[str]:
    """Where two parsed specs differ."""
    if isinstance(ours, list) and isinstance(theirs, list):
        ours, theirs = dict(enumerate(ours)), dict(enumerate(theirs))
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        if ours != theirs:
            yield f"{place} is {_short(theirs)}, not {_short(ours)}"
        return
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        where = f"{place}.{key}" if place else str(key)
        if key not in theirs or key not in ours:
            yield f"{where} is {'missing' if key not in theirs else 'there'}"
        else:
            yield from _differences(ours[key], theirs[key], where)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:56]} ..."
