"""A folder of numbered model versions that a model server watches: what it can do, and what is in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import NotFoundError
from kfp_bert_components.records import build, dump_record, load_record
from kfp_bert_components.storage import Entry, Generation

GRAPH = "saved_model.pb"
METADATA = "assets.extra/bundle.json"  # TensorFlow leaves the folder assets.extra to other programs
MARKER = ".kfp-bert-owner.json"  # no number, so no server takes it for a version

Check = Callable[[], object]


@dataclass(frozen=True)
class Owner:
    """Whose folder it is: the content of its marker file.

    Attributes:
        registry: Id of the registry.
        target: Name of the deployment record in it.
        registry_uri: Where the registry was when this was written, for people.
        number: Highest number that was ever chosen for a version here.
    """

    registry: str
    target: str
    registry_uri: str = ""
    number: int = 0

    def is_same(self, other: Owner) -> bool:
        """Whether registry and target are the same."""
        return (self.registry, self.target) == (other.registry, other.target)


class VersionedFolder(ABC):
    """Numbered versions: a SavedModel, and in its folder what ONNX Runtime needs.

    A number is complete once its `saved_model.pb` is there, which is empty where TensorFlow may not serve the version.

    Attributes:
        uri: Absolute local path, or gs:// or s3:// URI.
    """

    uri: str

    def limit_calls(self, seconds: float) -> None:
        """Let no change that servers can see take more than so many seconds; on a disk none does."""
        return

    @abstractmethod
    def numbers(self) -> list[int]:
        """Every number in use, complete or not, in ascending order; on gs:// also that of an empty object `9/`."""

    @abstractmethod
    def complete(self) -> list[int]:
        """The numbers that a server can load, in ascending order."""

    @abstractmethod
    def in_use(self) -> list[int]:
        """The numbers of folders with files in them, whatever these are, in ascending order."""

    @abstractmethod
    def newest(self) -> tuple[int, dict[str, Entry]]:
        """The highest complete number and its files by their names in it, in a bucket with checksums; (0, {}): none."""

    @abstractmethod
    def add(self, version: Path, number: int, check: Check = bool) -> None:
        """Copy the version in a local folder here as `number`. Servers see it only when it is complete.

        Nothing happens where the number is complete already.

        Args:
            version: The folder to copy.
            number: A number that nobody else uses.
            check: Called before each change, and right before the version becomes visible.

        Raises:
            ConflictError: Somebody else uses the number.
        """

    @abstractmethod
    def remove(self, number: int, check: Check = bool) -> None:
        """Hide a version from servers, then delete it. Nothing happens where there is none.

        Args:
            number: The version's number.
            check: Called before each change.
        """

    def remove_parts(self, number: int, is_ours: Callable[[Entry], bool], check: Check = bool) -> None:
        """Delete what an upload left that did not make a version whole. On a disk none is made in parts.

        Args:
            number: The version's number.
            is_ours: Whether a file is part of the upload: others may have put files there too.
            check: Called before each change.
        """
        return

    @abstractmethod
    def remove_leftovers(self, number: int) -> None:
        """Delete the temporary files that were made for `number` or a lower one, by deployments that are over."""

    @abstractmethod
    def read_owner(self) -> tuple[Owner | None, Generation]:
        """Whose folder it is, None where nobody claimed it, and the generation to give to `write_owner`.

        Raises:
            UserError: The marker file is damaged, or of a newer format.
        """

    @abstractmethod
    def write_owner(self, owner: Owner, generation: Generation) -> None:
        """Write the marker file, if it is still the one that `read_owner` saw.

        Raises:
            ConflictError: Another registry wrote it meanwhile.
        """

    @abstractmethod
    def _read_metadata(self, number: int) -> tuple[bytes, str]:
        """The content of a version's metadata file and its address; NotFoundError where there is none."""

    def content(self, number: int) -> VersionContent | None:
        """What a number holds; None where it was not deployed by this package.

        Raises:
            UserError: The version's metadata file is damaged, or of a newer format.
        """
        try:
            data, address = self._read_metadata(number)
        except NotFoundError:
            return None
        found = load_record(data, address, _METADATA_READERS, f"delete version {number} from {self.uri} by hand")
        return found if found.registry_version else None

    def registry_version(self, number: int) -> int | None:
        """The registry's version that was deployed as `number`; None and errors as in `content`."""
        found = self.content(number)
        return found.registry_version if found else None


@dataclass(frozen=True)
class VersionContent:
    """What a number in the folder holds: the registry's version, and the fingerprint of its bundle."""

    registry_version: int
    fingerprint: str


def dump_metadata(bundle: dict[str, Any], registry_version: int) -> str:
    """The text of a version's metadata file.

    Args:
        bundle: The content of the bundle's bundle.json; servers show it, and know the version by its fingerprint.
        registry_version: The registry's version of the bundle.
    """
    fields = {name: value for name, value in bundle.items() if name != "format"}
    return dump_record({**fields, "registry_version": registry_version})


_METADATA_READERS = {
    1: lambda fields: VersionContent(fields.get("registry_version") or 0, str(fields.get("fingerprint", "")))
}


def load_owner(data: bytes, place: str) -> Owner:
    """The owner that a marker file at `place` names; UserError where it is damaged, or of a newer format."""
    return load_record(data, place, {1: partial(build, Owner)}, "delete it, and run again with take_over=True")


def is_number(name: str) -> bool:
    """Whether a name is a version's number as TensorFlow Serving knows it: ASCII digits only."""
    return name.isascii() and name.isdigit()
