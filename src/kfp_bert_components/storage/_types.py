"""What a store is, and the plain values that it hands out."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kfp_bert_components.errors import NotFoundError, UserError


class GoneError(NotFoundError):
    """The generation that was asked for does not exist any more; `address` is the object's."""

    def __init__(self, message: str, address: str) -> None:
        super().__init__(message)
        self.address = address


# Tells one state of an object from all others; 0 stands for "there is no object". On gs:// and on disks a number that
# grows with every write. On s3:// a text: the ETag, and after a space the versionId where the bucket keeps versions.
Generation = int | str


@dataclass(frozen=True)
class Blob:
    """The bytes of one object and the generation that they belong to."""

    data: bytes
    generation: Generation


@dataclass(frozen=True)
class Entry:
    """One object of a listing.

    Attributes:
        name: Its name in the store.
        size: Bytes.
        crc32c: Base64 of the big-endian checksum, as Cloud Storage writes it; "" where the store does not know it.
        generation: Changes with every write.
        modified: When it was written, in seconds since 1970; 0 where that is not known.
    """

    name: str
    size: int
    crc32c: str
    generation: Generation
    modified: float = field(default=0.0, compare=False)


WRITE = "write"  # in the metadata of what is written with a condition: by it a write knows its own object again
# Inside the class `list` is a method.
Entries = list[Entry]
Names = list[str]


class Store(ABC):
    """A flat set of named objects under one URI. Names are relative, with "/" between their parts.

    A generation changes with every write of an object. On s3:// it does so only where the bytes are others, or where
    the object was made by `write` and its name ends in .json.
    """

    uri: str

    @abstractmethod
    def read(self, name: str, *, limit: int | None = None) -> Blob:
        """Read one object whole, checked by what the store knows of its bytes.

        Args:
            name: The object to read.
            limit: Its size in bytes at most; no more than that is read.

        Raises:
            NotFoundError: There is no such object.
            UserError: It has more bytes than `limit`.
        """

    @abstractmethod
    def write(self, name: str, data: bytes, *, if_generation: Generation | None = None) -> Generation:
        """Write one object whole and return its new generation.

        Args:
            name: The object to write.
            data: All of its bytes.
            if_generation: Write only while the object has this generation; 0: only if there is none.

        Raises:
            ConflictError: The object has another generation. It has not where it is what this very call wrote, and
                only the reply was lost.
        """

    @abstractmethod
    def list(self, prefix: str = "", *, checksums: bool = True) -> Entries:
        """All objects whose name starts with `prefix`, sorted by name.

        Args:
            prefix: Start of the names.
            checksums: False leaves `crc32c` empty on a local folder, where it costs a read of each file, and on s3://,
                where it costs a request for each object. There the versions of the objects are left out with it.
        """

    @abstractmethod
    def folders(self, prefix: str = "") -> Names:
        """The names of the folders right below the folder `prefix`, sorted."""

    @abstractmethod
    def stat(self, name: str) -> Entry:
        """Size, checksum and generation of one object; NotFoundError if there is none."""

    @abstractmethod
    def delete(self, name: str, *, if_generation: Generation | None = None) -> None:
        """Delete one object; NotFoundError if there is none, ConflictError if its generation is another."""

    @abstractmethod
    def upload(
        self, path: Path, name: str, *, if_generation: Generation | None = None, check: Callable[[], object] = bool
    ) -> Generation:
        """Copy a local file into the store and return the generation; conditions as in `write`.

        Args:
            path: The file.
            name: The object to write.
            if_generation: As in `write`.
            check: Called before each request that holds a part of the file, of which the last one makes the object
                visible. What it raises ends the upload.
        """

    def limited(self, seconds: float) -> Store:
        """The same store, whose calls that change one object are over after so many seconds.

        On a disk they need no limit. On s3:// a file of more than 64 MB is one request, and has none.
        """
        return self

    def download_entry(self, entry: Entry, path: Path, progress: Callable[[int], object] = bool) -> None:
        """As `download_all`, for one object."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=path.parent) as scratch:
            self.download_all([(entry, path)], Path(scratch), progress)

    @abstractmethod
    def download_all(
        self, wanted: Sequence[tuple[Entry, Path]], scratch: Path, progress: Callable[[int], object] = bool
    ) -> None:
        """Copy exactly the objects that were listed to local files, several at once.

        Each file appears whole or not at all. Ends at the first object that can't be had.

        Args:
            wanted: From `list` or `stat`; size and checksum, where it is known, are what the bytes must have. With
                each the file to make, whose folder exists.
            scratch: A folder on the file system of those files, for files that are not whole yet.
            progress: Called with a number of bytes each time so many more have come (negative when they have
                to be fetched again).

        Raises:
            NotFoundError: This generation is gone.
            UserError: The bytes don't match the entry, also after several tries.
        """

    def download(self, name: str, path: Path) -> None:
        """Copy one object, as it is now, to a local file; `path` appears whole or not at all."""
        self.download_entry(self.stat(name), path)

    def exists(self, name: str) -> bool:
        """Whether there is an object of this name."""
        try:
            self.stat(name)
        except NotFoundError:
            return False
        return True

    def describe(self, name: str) -> str:
        """The full address of an object, for messages."""
        return f"{self.uri.rstrip('/')}/{name}"


def too_large(where: str, limit: int) -> UserError:
    """The error about an object with more bytes than are read into memory."""
    return UserError(f"{where} has more than the {limit:,} bytes that are read at once.")


def check_name(name: str) -> str:
    """Return `name` if it is safe as a relative path, else raise UserError."""
    dots = {".", ".."} & set(name.split("/"))
    if not name or name.startswith("/") or "\\" in name or "\0" in name or dots or "//" in name:
        raise UserError(f"{name!r} is no usable object name: give a relative one without '.', '..', '\\' or '//'.")
    return name


def unusable_name(where: str) -> UserError:
    """The error about an object whose name obstore does not take, so that its bytes can't be had."""
    return UserError(
        f"The object {where!r} can't be fetched: its name holds an empty part, '.', '..' or a control character. "
        "Rename it."
    )


def without_markers(found: Entries) -> Entries:
    """A sorted listing without what consoles and tools made only so that there is a folder: "a/", or empty "a"."""

    def is_marker(one: Entry) -> bool:
        if one.name.endswith("/"):
            return True
        at = bisect_left(found, f"{one.name}/", key=lambda other: other.name) if not one.size else len(found)
        return at < len(found) and found[at].name.startswith(f"{one.name}/")

    return [one for one in found if not is_marker(one)]


def unreadable_marker(where: str) -> UserError:
    """The error for an object that has a folder's name and bytes of its own, which would be left out in silence."""
    return UserError(f"The object {where}/ holds bytes, and its name ends with '/', as that of a folder: rename it.")


def content_type(name: str) -> str:
    """What an object of this name is said to hold."""
    endings = {".json": "application/json", ".md": "text/markdown", ".txt": "text/plain", ".html": "text/html"}
    return endings.get(Path(name).suffix, "application/octet-stream")
