"""The versions of a model in its folder, and what is in them."""

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import NotFoundError, UserError

GRAPH = "saved_model.pb"
ONNX = "model.onnx"
BUNDLE = "bundle.json"
METADATA = "assets.extra/bundle.json"  # written by a deployment: what is in the version
OWNER = ".kfp-bert-owner.json"  # written by a deployment: the registry that a folder of versions belongs to
OF_REGISTRY = "version.json"
MODELS = "a model bundle, a SavedModel folder, a folder of versions, or a registry"  # what can be served


@dataclass(frozen=True)
class ModelVersion:
    """A model that can be loaded.

    Attributes:
        folder: The folder that holds `saved_model.pb`.
        number: Name of the version's folder; 1 for a model without versions.
        fingerprint: Changes with what is in the folder, also where the number stays: the fingerprint of its bundle if a
            deployment wrote it down, else `stamp`.
        registry_version: The registry's version of the model, if a deployment wrote it down.
        stamp: Made of the names, sizes and times of all files, in a bucket of their generations: another one is loaded
            again.
        onnx: The folder that holds `model.onnx`; None where the model is a SavedModel only.
        metadata: What its bundle.json says; empty where there is none.
    """

    folder: Path
    number: int
    fingerprint: str = ""
    registry_version: int | None = None
    stamp: str = field(default="", repr=False)
    onnx: Path | None = None
    metadata: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Found:
    """A version that is there.

    Attributes:
        number: Its number.
        read: Looks at what is in it now, as `read_version` does.
        stamp: The stamp of what `read` would give; "" where only reading it tells.
    """

    number: int
    read: Callable[[], ModelVersion]
    stamp: str = ""


def find_versions(path: Path) -> list[Found]:
    """The complete versions of the model at `path`, the newest first; none in a folder that holds no version yet.

    Args:
        path: A model bundle, a SavedModel folder, or a folder with one of these per version number.

    Raises:
        NotFoundError: There is nothing at `path`.
        UserError: What lies there is none of the three.
        OSError: It can't be read.
    """
    if not path.exists():
        raise NotFoundError(f"{path} does not exist: give {MODELS}.")
    if _is_complete(path):
        return [Found(1, partial(read_version, path, 1))]
    names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
    numbers = version_names(names)
    for folder, registry in [(path, path.parent.parent), *((path / name, path.parent) for name in numbers.values())]:
        if _has(folder, OF_REGISTRY):
            raise of_registry_error(folder, registry)
    if not path.is_dir() or (not numbers and any(is_content(name) for name in names)):
        raise no_model_error(path)
    deployed = _has(path, OWNER) or any(_has(path / name, METADATA, BUNDLE) for name in numbers.values())
    return [
        Found(number, partial(read_version, path / name, number, deployed=deployed))
        for number, name in sorted(numbers.items(), reverse=True)
        if _may_be_complete(path / name)
    ]


def of_registry_error(folder: object, registry: object) -> UserError:
    """The error for the folder of a version, or of all versions, of a registry."""
    return UserError(
        f"{folder} is a version of a registry: give the registry, {registry}, whose champion is served, or the bundle "
        f"of one version, such as {folder}/bundle."
    )


def no_model_error(path: object) -> UserError:
    """The error for a folder that holds something else."""
    return UserError(
        f"{path} holds no model: expected a registry (champion.json), a bundle (bundle.json), a SavedModel "
        "(saved_model.pb), or version folders with numbers for names."
    )


def is_content(name: str) -> bool:
    """Whether a name in a folder is none that tools leave there; "" is that of a bucket's folder itself."""
    return name != "" and not name.startswith((".", "_"))


def version_names(names: Iterable[str]) -> dict[int, str]:
    """Those of some names of folders that are numbers of versions, by number; of 1 and 001 the shorter one."""
    numbers = (name for name in names if name.isascii() and name.isdigit() and len(name) < 20)
    return {int(name): name for name in sorted(numbers, key=len, reverse=True)}


def newest_version(path: Path) -> ModelVersion | None:
    """The newest complete version of the model at `path`, or None in a folder that holds none yet.

    Raises:
        NotFoundError, UserError, OSError: As `find_versions` and `read_version`.
    """
    versions = find_versions(path)
    return versions[0].read() if versions else None


def read_version(folder: Path, number: int, *, deployed: bool = False, stamp: str = "") -> ModelVersion:
    """What is in a version's folder now.

    Args:
        folder: A bundle, or the folder that holds `saved_model.pb`.
        number: Its number.
        deployed: Whether a whole version has its bundle.json, as those have that a deployment wrote.
        stamp: Its stamp where that is known; by default it is made of the files in the folder.

    Raises:
        NotFoundError: The version was taken away at this moment.
        UserError: It lacks a file.
        OSError: It can't be read.
    """
    try:
        if not _is_complete(folder):
            raise FileNotFoundError
        stamp = stamp or _stamp(folder)
        known = _read_metadata(folder)
        metadata = known or {}
        onnx = folder if (folder / ONNX).is_file() else None
    except FileNotFoundError:
        raise NotFoundError(f"Version {number} was taken away from {folder.parent}.") from None
    if deployed and known is None:
        raise UserError(
            f"Version {number} has no {METADATA} that can be read, as those have that a deployment wrote: copy all "
            "files of the version, or put models of another kind into a folder of their own."
        )
    if onnx and known is None:
        raise UserError(
            f"{folder} holds {ONNX} and no {BUNDLE} that can be read, which names its labels: copy all files of the "
            "model, or write it again."
        )
    saved_model = folder / "saved_model" if (folder / "saved_model" / GRAPH).is_file() else folder
    version = metadata.get("registry_version")
    fingerprint = str(metadata.get("fingerprint") or stamp)
    registry_version = version if isinstance(version, int) else None
    return ModelVersion(saved_model, number, fingerprint, registry_version, stamp, onnx, metadata)


def _is_complete(folder: Path) -> bool:
    """A deployment writes `saved_model.pb` last, so it tells a whole version; a bundle is whole with a model."""
    if (folder / GRAPH).is_file() or (folder / "saved_model" / GRAPH).is_file():
        return True
    return (folder / BUNDLE).is_file() and (folder / ONNX).is_file()


def _may_be_complete(folder: Path) -> bool:
    """A folder that may not be looked into counts as a version: reading it says what is wrong."""
    try:
        return _is_complete(folder)
    except OSError:
        return True


def _has(folder: Path, *names: str) -> bool:
    """Whether a folder has one of these files; not if it may not be looked into."""
    with suppress(OSError):
        return any((folder / name).is_file() for name in names)
    return False


def _stamp(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and not path.exists():
            raise UserError(f"{path} is a link to nothing: put the file there, or remove the link.")
        status = path.stat()
        if path.is_file():
            line = f"{path.relative_to(folder)} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _read_metadata(folder: Path) -> dict[str, Any] | None:
    """The fields of the metadata file; None where there is none that can be read: a model is served without it, too."""
    path = next((folder / name for name in (METADATA, BUNDLE) if (folder / name).is_file()), None)
    try:
        found = json.loads(path.read_bytes()) if path else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
