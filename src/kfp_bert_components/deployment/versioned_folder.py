"""A folder of numbered model versions that a model server watches, local or on gs://."""

from __future__ import annotations

import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.records import dump_record, load_record
from kfp_bert_components.storage import Store, open_store, parse_address, upload_folder

GRAPH = "saved_model.pb"
METADATA = "assets.extra/bundle.json"  # TensorFlow leaves the folder assets.extra to other programs


class VersionedFolder(ABC):
    """Numbered SavedModels. A number is complete once its `saved_model.pb` is there.

    Attributes:
        uri: Absolute local path, or gs:// URI.
    """

    uri: str

    @abstractmethod
    def numbers(self) -> list[int]:
        """Every number in use, complete or not, in ascending order."""

    @abstractmethod
    def complete(self) -> list[int]:
        """The numbers that a server can load, in ascending order."""

    @abstractmethod
    def add(self, saved_model: Path, number: int) -> None:
        """Copy the SavedModel in a local folder here as `number`. Servers see it only when it is complete.

        Nothing happens where the number is complete already.
        """

    @abstractmethod
    def remove(self, number: int) -> None:
        """Hide a version from servers, then delete it. Nothing happens where there is none."""

    @abstractmethod
    def remove_leftovers(self) -> None:
        """Delete the temporary files of a deployment that was killed."""

    @abstractmethod
    def _read_metadata(self, number: int) -> tuple[bytes, str]:
        """The content of a version's metadata file and its address; NotFoundError where there is none."""

    def registry_version(self, number: int) -> int | None:
        """The registry's version that was deployed as `number`; None where the number was not deployed by this package.

        Raises:
            UserError: The version's metadata file is damaged, or of a newer format.
        """
        try:
            data, address = self._read_metadata(number)
        except NotFoundError:
            return None
        return load_record(data, address, _METADATA_READERS, f"delete version {number} from {self.uri} by hand")


def dump_metadata(bundle: dict[str, Any], registry_version: int) -> str:
    """The text of a version's metadata file.

    Args:
        bundle: The content of the bundle's bundle.json; servers show it.
        registry_version: The registry's version of the bundle.
    """
    fields = {name: value for name, value in bundle.items() if name != "format"}
    return dump_record({**fields, "registry_version": registry_version})


_METADATA_READERS = {1: lambda fields: fields.get("registry_version")}


def open_versioned_folder(uri: str) -> VersionedFolder:
    """The versioned folder at a local path or a gs:// URI. It need not exist yet.

    A path below /gcs/, where buckets are mounted, becomes a gs:// URI.

    Raises:
        UserError: The path is empty, or is a file.
    """
    if uri.startswith("/gcs/"):  # folders cannot be renamed on a mounted bucket
        uri = "gs://" + uri.removeprefix("/gcs/")
    address = parse_address(uri, "serving_directory")
    return _LocalFolder(address.path) if address.is_local else _StoreFolder(open_store(address))


class _LocalFolder(VersionedFolder):
    """A version is copied to a temporary folder beside its place, which no server reads, and then renamed."""

    def __init__(self, root: Path) -> None:
        if root.exists() and not root.is_dir():
            raise UserError(f"The serving directory {root} is a file: give a folder.")
        self._root, self.uri = root, str(root)

    def numbers(self) -> list[int]:
        if not self._root.is_dir():
            return []
        return sorted(int(entry.name) for entry in self._root.iterdir() if entry.name.isdigit())

    def complete(self) -> list[int]:
        return [number for number in self.numbers() if (self._root / str(number) / GRAPH).is_file()]

    def add(self, saved_model: Path, number: int) -> None:
        target = self._root / str(number)
        if target.exists():
            return  # a rename put it there, so it is complete
        self._root.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".incoming-", dir=self._root)) / "model"
        shutil.copytree(saved_model, scratch)
        os.replace(scratch, target)
        scratch.parent.rmdir()

    def remove(self, number: int) -> None:
        source = self._root / str(number)
        if source.exists():
            scratch = Path(tempfile.mkdtemp(prefix=".outgoing-", dir=self._root))
            os.replace(source, scratch / "model")
            shutil.rmtree(scratch)

    def remove_leftovers(self) -> None:
        for pattern in (".incoming-*", ".outgoing-*"):
            for leftover in self._root.glob(pattern):
                shutil.rmtree(leftover, ignore_errors=True)

    def _read_metadata(self, number: int) -> tuple[bytes, str]:
        path = self._root / str(number) / METADATA
        try:
            return path.read_bytes(), str(path)
        except FileNotFoundError:
            raise NotFoundError(f"There is no file {path}.") from None


class _StoreFolder(VersionedFolder):
    """Nothing can be renamed on gs://, so `saved_model.pb` is written last: it makes a version complete."""

    def __init__(self, store: Store) -> None:
        self._store, self.uri = store, store.uri

    def _names(self, prefix: str = "") -> list[str]:
        return [entry.name for entry in self._store.list(prefix)]

    def numbers(self) -> list[int]:
        return sorted({int(head) for name in self._names() if (head := name.partition("/")[0]).isdigit()})

    def complete(self) -> list[int]:
        parts = [name.split("/") for name in self._names()]
        return sorted(int(path[0]) for path in parts if path[0].isdigit() and path[1:] == [GRAPH])

    def add(self, saved_model: Path, number: int) -> None:
        if self._store.exists(f"{number}/{GRAPH}"):
            return
        with tempfile.TemporaryDirectory() as scratch:
            rest = Path(scratch) / "rest"
            shutil.copytree(saved_model, rest, ignore=shutil.ignore_patterns(GRAPH))
            upload_folder(rest, self._store, str(number))
        self._store.upload(saved_model / GRAPH, f"{number}/{GRAPH}")

    def remove(self, number: int) -> None:
        names = self._names(f"{number}/")
        for name in sorted(names, key=lambda name: not name.endswith(f"/{GRAPH}")):
            self._store.delete(name)

    def remove_leftovers(self) -> None:
        """Nothing to do: a rollout records its number before the first object, and completes or removes it."""

    def _read_metadata(self, number: int) -> tuple[bytes, str]:
        name = f"{number}/{METADATA}"
        return self._store.read(name).data, self._store.describe(name)
