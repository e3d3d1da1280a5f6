"""A folder of model versions that a model server watches, local or on gs://."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.storage import Store, open_store, upload_folder

GRAPH = "saved_model.pb"
LABEL = "assets.extra/bundle.json"  # the folder that TensorFlow leaves to others


class Shelf(ABC):
    """Numbered SavedModels. A number counts as complete once its `saved_model.pb` is there."""

    uri: str

    @abstractmethod
    def numbers(self) -> list[int]:
        """Every number in use, complete or not, in ascending order."""

    @abstractmethod
    def complete(self) -> list[int]:
        """The numbers that a server can load, in ascending order."""

    @abstractmethod
    def label(self, number: int) -> dict[str, Any]:
        """What `assets.extra/bundle.json` of a version says, or {} where there is none."""

    @abstractmethod
    def put(self, folder: Path, number: int) -> None:
        """Make the SavedModel in `folder` visible as `number`, whole. Doing it twice is the same as once."""

    @abstractmethod
    def remove(self, number: int) -> None:
        """Make a version invisible, then delete it. Nothing happens where there is none."""

    @abstractmethod
    def sweep(self) -> None:
        """Delete what a killed deployment left unfinished."""


def open_shelf(uri: str) -> Shelf:
    """The shelf at a local path or a gs:// URI; a path below /gcs/, where buckets are mounted, becomes gs://.

    Raises:
        UserError: The path is empty, or is a file.
    """
    if not uri:
        raise UserError("The serving directory is empty: give a folder or a gs:// URI.")
    if uri.startswith("/gcs/"):  # folders cannot be renamed on a mounted bucket
        uri = "gs://" + uri.removeprefix("/gcs/")
    if uri.startswith("gs://"):
        return _StoreShelf(open_store(uri))
    return _LocalShelf(Path(uri.removeprefix("file://")).absolute())


class _LocalShelf(Shelf):
    """A version is built beside its place under a name that no server reads, then renamed."""

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

    def label(self, number: int) -> dict[str, Any]:
        path = self._root / str(number) / LABEL
        return json.loads(path.read_text()) if path.is_file() else {}

    def put(self, folder: Path, number: int) -> None:
        target = self._root / str(number)
        if target.exists():
            return  # it was renamed there whole
        self._root.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".incoming-", dir=self._root)) / "model"
        shutil.copytree(folder, scratch)
        os.replace(scratch, target)
        scratch.parent.rmdir()

    def remove(self, number: int) -> None:
        source = self._root / str(number)
        if source.exists():
            scratch = Path(tempfile.mkdtemp(prefix=".outgoing-", dir=self._root))
            os.replace(source, scratch / "model")
            shutil.rmtree(scratch)

    def sweep(self) -> None:
        for pattern in (".incoming-*", ".outgoing-*"):
            for left in self._root.glob(pattern):
                shutil.rmtree(left, ignore_errors=True)


class _StoreShelf(Shelf):
    """On gs:// nothing is renamed: what makes a version complete is its `saved_model.pb`, written last."""

    def __init__(self, store: Store) -> None:
        self._store, self.uri = store, store.uri

    def _names(self, prefix: str = "") -> list[str]:
        return [entry.name for entry in self._store.list(prefix)]

    def numbers(self) -> list[int]:
        return sorted({int(head) for name in self._names() if (head := name.partition("/")[0]).isdigit()})

    def complete(self) -> list[int]:
        parts = [name.split("/") for name in self._names()]
        return sorted(int(path[0]) for path in parts if path[0].isdigit() and path[1:] == [GRAPH])

    def label(self, number: int) -> dict[str, Any]:
        try:
            return json.loads(self._store.read(f"{number}/{LABEL}").data)
        except NotFoundError:
            return {}

    def put(self, folder: Path, number: int) -> None:
        if self._store.exists(f"{number}/{GRAPH}"):
            return
        with tempfile.TemporaryDirectory() as scratch:
            rest = Path(scratch) / "rest"
            shutil.copytree(folder, rest, ignore=shutil.ignore_patterns(GRAPH))
            upload_folder(rest, self._store, str(number))
        self._store.upload(folder / GRAPH, f"{number}/{GRAPH}")

    def remove(self, number: int) -> None:
        names = self._names(f"{number}/")
        for name in sorted(names, key=lambda name: not name.endswith(f"/{GRAPH}")):
            self._store.delete(name)

    def sweep(self) -> None:
        return None  # a number is claimed in the journal before its first object, and is completed or removed
