"""`kfp-bert doctor`: what works here and what does not."""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from kfp_bert_components import __version__
from kfp_bert_components.cli.groups import example
from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.formats import counted
from kfp_bert_components.plain import plain

PATIENCE = 10.0
EXTRAS = ("data", "gate", "tensorflow", "serve", "ai-platform", "local", "mlflow")


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is (ok, missing or FAILED), and a sentence."""

    what: str
    state: str
    says: str


@click.command(
    "doctor",
    epilog=example(
        "kfp-bert doctor --registry gs://my-bucket/registry --sources 'gs://my-bucket/lines/*.csv' \\",
        "  --images my-registry/my-team --host https://my-kubeflow/pipeline",
    ),
)
@click.option("--extra", "extras", multiple=True, type=click.Choice(EXTRAS), help="An extra that must be installed.")
@click.option("--gpu", is_flag=True, help="TensorFlow must see a GPU.")
@click.option("--sources", multiple=True, metavar="URI", help="Files, a folder or a glob that must be readable.")
@click.option("--registry", metavar="URI", help="Registry that must be readable and writable.")
@click.option("--serving-directory", metavar="URI", help="Serving directory that must be readable and writable.")
@click.option("--images", metavar="PLACE", help="Where this version's images must be.")
@click.option("--host", metavar="URL", help="Kubeflow Pipelines that must answer.")
@click.option("--namespace", default="", envvar="KFP_NAMESPACE", help="With --host: namespace.")
@click.option("--project", default="", help="Project whose AI Platform must answer.")
@click.option("--location", default="", help="With --project: region, such as europe-west4.")
@click.option("--api-endpoint", default="", hidden=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def command(as_json: bool, **asked: Any) -> None:
    """Check what is installed here, and what the options name: one line for each, with the way to fix it.

    The exit code is 1 if something that an option names does not work. To check that a bucket can be written, the
    command writes and deletes a small object. All checks run on this machine with your account. The steps of a pipeline
    run elsewhere, with another account.
    """
    if bool(asked["project"]) != bool(asked["location"]):
        raise click.UsageError("--project and --location go together.")
    found = []
    for one in _findings(**asked):
        found.append(one)
        if not as_json:
            click.echo(f"{one.state:<8} {one.what:<20} {plain(one.says)}")
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=1))
    if any(one.state == "FAILED" for one in found):
        raise SystemExit(1)


def _findings(
    extras: tuple[str, ...],
    gpu: bool,
    sources: tuple[str, ...],
    registry: str | None,
    serving_directory: str | None,
    images: str | None,
    host: str | None,
    namespace: str,
    project: str,
    location: str,
    api_endpoint: str,
) -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()}, {sys.executable}")
    yield Finding("kfp-bert-components", "ok", f"{__version__}, with kfp {version('kfp')}")
    for extra in EXTRAS:
        yield _extra(extra, extra in extras)
    yield _gpu(gpu)
    places = [str(one) for one in (*sources, registry, serving_directory)]
    if (project and not api_endpoint) or any(one.startswith("gs://") for one in places):
        yield _tried("credentials", _account)
    for source in sources:
        yield from _store_of(source)
        yield _tried("sources", _readable, source)
    for what, place in (("registry", registry), ("serving directory", serving_directory)):
        if place:
            yield from _store_of(place)
            yield _tried(what, _usable, what, place)
    if images:
        for name in ("python", "python-tensorflow"):
            yield _tried(f"image {name}", _image, images, name)
    if host:
        yield _tried("Kubeflow Pipelines", _kubeflow, host, namespace)
    if project:
        yield _tried("AI Platform", _ai_platform, project, location, api_endpoint)


def _tried(what: str, look: Callable[..., str], *arguments: Any) -> Finding:
    """What `look` says, or why it does not work."""
    from kfp_bert_components.extras import named_extra

    try:
        with named_extra():
            return Finding(what, "ok", look(*arguments))
    except (UserError, TransientError) as error:
        return Finding(what, "FAILED", str(error))


def _extra(extra: str, asked: bool) -> Finding:
    from kfp_bert_components.extras import missing_module

    if module := missing_module(extra):
        says = f"{module} is not installed: pip install 'kfp-bert-components[{extra}]'"
        return Finding(f"extra {extra}", "FAILED" if asked else "missing", says)
    return Finding(f"extra {extra}", "ok", "is installed")


def _gpu(asked: bool) -> Finding:
    try:
        seen = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        seen = ""
    bad = "FAILED" if asked else "missing"
    if not seen:
        return Finding("GPU", bad, "none is seen (nvidia-smi): install NVIDIA's driver, or train where there is one")
    if asked and not _tensorflow_sees_it():
        return Finding(
            "GPU", bad, f"{seen}; TensorFlow does not see it: pip install 'kfp-bert-components[tensorflow-cuda]'"
        )
    return Finding("GPU", "ok", seen)


def _tensorflow_sees_it() -> bool:
    code = "import tensorflow as tf, sys; sys.exit(not tf.config.list_physical_devices('GPU'))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def _account() -> str:
    from kfp_bert_components.storage import Access, google_account

    return f"Google's services are called as {google_account(Access(patience=PATIENCE))}"


def _store_of(place: str) -> Iterator[Finding]:
    """Of a place on s3://: where its store is, and as whom it is reached."""
    from kfp_bert_components.storage import s3_account

    if place.startswith(("s3://", "minio://")):
        yield _tried("S3 store", lambda: f"{place}: {s3_account(place)}")


def _readable(source: str) -> str:
    from kfp_bert_components.storage import Access, find_objects

    found = find_objects(source, Access(patience=PATIENCE), "--sources", checksums=False)
    return f"{source}: {counted(len(found), 'objects')}, {counted(sum(one.entry.size for one in found), 'bytes')}"


def _usable(what: str, place: str) -> str:
    from kfp_bert_components.storage import Access, check_writable, open_store, parse_address

    if (address := parse_address(place, what)).is_local:
        return _folder(address.path)
    store = open_store(place, Access(patience=PATIENCE), what)
    store.list("champion.json", checksums=False)
    check_writable(place, what, conditions=True)
    return f"{store.uri} is readable and writable"


def _folder(path: Path) -> str:
    """Look at a folder without making it, or leaving anything in it."""
    from kfp_bert_components.storage import denied, is_there

    there = next(one for one in (path, *path.parents) if is_there(one))
    try:
        os.listdir(there)
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        what = f"{path} can't be" if there == path else f"{path} can't be made, as {there} can't be"
        why = denied(there) if isinstance(error, PermissionError) else error.strerror
        raise UserError(f"{what} read and written: {why}.") from None
    return f"{path} is readable and writable" if there == path else f"{path} is not there yet: its first use makes it"


def _image(place: str, name: str) -> str:
    from kfp_bert_components.cli.image_check import check_image
    from kfp_bert_components.components._images import image_place

    image = f"{image_place(place)}/{name}:{__version__}"
    check_image(image)
    return f"{image} is there"


def _kubeflow(host: str, namespace: str) -> str:
    from kfp_bert_components.cli.kubeflow import Kubeflow

    return f"{host} answers; it has {len(Kubeflow(host, namespace).schedules())} schedules"


def _ai_platform(project: str, location: str, api_endpoint: str) -> str:
    from kfp_bert_components.ai_platform.pipelines import Pipelines

    Pipelines(project, location, api_endpoint).check()
    return f"pipelines of {project} in {location} can be listed"
