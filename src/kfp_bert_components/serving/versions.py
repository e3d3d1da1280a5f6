"""The versions of a model in its folder, and which one is the newest."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import NotFoundError, UserError

GRAPH = "saved_model.pb"
METADATA = "assets.extra/bundle.json"  # written by a deployment: what is in the version


@dataclass(frozen=True)
class ModelVersion:
    """A SavedModel that can be loaded.

    Attributes:
        folder: The folder that holds `saved_model.pb`.
        number: Name of the version's folder; 1 for a model without versions.
        fingerprint: Changes with what is in the folder, also where the number stays: the fingerprint of its bundle if a
            deployment wrote it down, else `stamp`.
        registry_version: The registry's version of the model, if a deployment wrote it down.
        stamp: Made of the metadata, and of size and time of the graph's file: another one is loaded again.
    """

    folder: Path
    number: int
    fingerprint: str = ""
    registry_version: int | None = None
    stamp: str = field(default="", repr=False)


def newest_version(path: Path) -> ModelVersion | None:
    """The newest complete version of the model at `path`, or None in a folder that holds no version yet.

    Args:
        path: A model bundle, a SavedModel folder, or a folder with one SavedModel per version number.

    Raises:
        NotFoundError: There is nothing at `path`.
        UserError: What lies there is none of the three.
    """
    if not path.exists():
        raise NotFoundError(
            f"{path} does not exist: give a model bundle, a SavedModel folder, or a folder of versions."
        )
    if (path / "saved_model" / GRAPH).is_file():
        return read_version(path / "saved_model", 1)
    if (path / GRAPH).is_file():
        return read_version(path, 1)
    names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
    numbers = [int(name) for name in names if name.isascii() and name.isdigit()]
    if not path.is_dir() or (not numbers and any(not name.startswith((".", "_")) for name in names)):
        raise UserError(
            f"{path} holds no model: expected a bundle (saved_model/saved_model.pb), a SavedModel "
            "(saved_model.pb), or version folders with numbers for names."
        )
    # A version is complete once its saved_model.pb is there, which is why a deployment writes that file last.
    complete = [number for number in numbers if (path / str(number) / GRAPH).is_file()]
    return read_version(path / str(max(complete)), max(complete)) if complete else None


def read_version(folder: Path, number: int) -> ModelVersion:
    """What is in a version's folder now.

    Args:
        folder: The folder that holds `saved_model.pb`.
        number: Its number.

    Raises:
        NotFoundError: The version was taken away at this moment.
    """
    try:
        status = (folder / GRAPH).stat()
        metadata = (folder / METADATA).read_bytes() if (folder / METADATA).is_file() else b""
    except FileNotFoundError:
        raise NotFoundError(f"Version {number} was taken away from {folder.parent}.") from None
    graph = f"{status.st_size} {status.st_mtime_ns} "
    stamp = hashlib.sha256(graph.encode() + metadata).hexdigest()
    known = _read_metadata(metadata)
    version = known.get("registry_version")
    fingerprint = str(known.get("fingerprint") or stamp)
    return ModelVersion(folder, number, fingerprint, version if isinstance(version, int) else None, stamp)


def _read_metadata(data: bytes) -> dict[str, Any]:
    """The fields of a metadata file; {} where it is none: a model is served without it, too."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
