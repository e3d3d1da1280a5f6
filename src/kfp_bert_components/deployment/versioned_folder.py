"""A folder of numbered model versions that a model server watches, local or in a bucket."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.records import build, dump_record, load_record
from kfp_bert_components.storage import (
    Address,
    Entry,
    Generation,
    Store,
    file_crc32c,
    open_store,
    parse_address,
    upload_folder,
)

GRAPH = "saved_model.pb"
METADATA = "assets.extra/bundle.json"  # TensorFlow leaves the folder assets.extra to other programs
MARKER = ".kfp-bert-owner.json"  # no number, so no server takes it for a version
_MOUNT = "/gcs/"
# What `_LocalFolder` makes for a moment. Names of others, such as .incoming-new-model, are left alone.
_SCRATCH = re.compile(r"\.kfp-bert-(?:incoming|outgoing)-([0-9]+)-[a-z0-9_]{8}")

Check = Callable[[], object]
Method = TypeVar("Method", bound=Callable[..., Any])


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


def _load_owner(data: bytes, place: str) -> Owner:
    return load_record(data, place, {1: partial(build, Owner)}, "delete it, and run again with take_over=True")


def open_versioned_folder(place: str | Address) -> VersionedFolder:
    """The versioned folder at a local path, or a gs:// or s3:// URI. It need not exist yet.

    A path below /gcs/, where buckets are mounted, becomes a gs:// URI. Links in a local path are followed, so that one
    folder has one name.

    Args:
        place: The address as a user wrote it, or what the parser made of it.

    Raises:
        UserError: It is no address, it is a file or lies below one, or this user may not look there.
    """
    address = without_links(place if isinstance(place, Address) else parse_address(place, "serving_directory"))
    return _LocalFolder(address.path) if address.is_local else _StoreFolder(open_store(address))


def without_links(address: Address) -> Address:
    """The one address of a place: links in a local path are followed, and a bucket mounted below /gcs/ is its own."""
    if not address.is_local:
        return address
    path = os.path.realpath(address.path)
    if not path.startswith(_MOUNT):
        return Address("file", "", path)
    bucket, _, name = path.removeprefix(_MOUNT).partition("/")  # where folders cannot be renamed
    return replace(parse_address(f"gs://{bucket}", "serving_directory"), name=name)


@contextmanager
def _explained(root: Path) -> Iterator[None]:
    """One sentence for what the file system refuses."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename and str(error.filename) != str(root) else ""
        raise UserError(
            f"The serving directory {root} can't be used: {error.strerror or error}{where}. Give a folder that this "
            "user can read and write."
        ) from error


def _said(method: Method) -> Method:
    """A method of `_LocalFolder` whose errors of the file system are sentences."""

    @wraps(method)
    def call(self: _LocalFolder, *arguments: Any) -> Any:
        with _explained(self._root):
            return method(self, *arguments)

    return cast(Method, call)


class _LocalFolder(VersionedFolder):
    """A version is copied to a temporary folder beside its place, which no server reads, and then renamed."""

    def __init__(self, root: Path) -> None:
        with _explained(root):
            there = next(one for one in (root, *root.parents) if one.exists())
        if not there.is_dir():
            what = "is a file" if there == root else f"lies below the file {there}"
            raise UserError(f"The serving directory {root} {what}: give a folder.")
        self._root, self.uri = root, str(root)

    @_said
    def numbers(self) -> list[int]:
        if not self._root.is_dir():
            return []
        return sorted(int(entry.name) for entry in self._root.iterdir() if is_number(entry.name))

    @_said
    def complete(self) -> list[int]:
        # A number of others may have zeros before it.
        return sorted({int(path.parent.name) for path in self._root.glob(f"*/{GRAPH}") if is_number(path.parent.name)})

    @_said
    def in_use(self) -> list[int]:
        folders = [path for path in self._root.glob("*") if is_number(path.name)]
        return sorted({int(folder.name) for folder in folders if any(path.is_file() for path in folder.rglob("*"))})

    @_said
    def newest(self) -> tuple[int, dict[str, Entry]]:
        number = max(self.complete(), default=0)
        if not number:
            return 0, {}
        files = open_store(Address("file", "", f"{self._root}/{number}")).list(checksums=False)
        return number, {entry.name: entry for entry in files}

    @_said
    def add(self, version: Path, number: int, check: Check = bool) -> None:
        target = self._root / str(number)
        if (target / GRAPH).is_file():
            return  # a rename put it there, so it is complete
        self._root.mkdir(parents=True, exist_ok=True)
        scratch = self._scratch("incoming", number) / "model"
        shutil.copytree(version, scratch)
        check()
        try:
            os.rename(scratch, target)  # refused where there is a folder with files in it
        except OSError as error:
            raise ConflictError(f"{target} cannot be made: {error.strerror or error}.") from error
        scratch.parent.rmdir()

    @_said
    def remove(self, number: int, check: Check = bool) -> None:
        source = self._root / str(number)
        if source.exists():
            scratch = self._scratch("outgoing", number)
            check()
            os.rename(source, scratch / "model")
            shutil.rmtree(scratch)

    @_said
    def remove_leftovers(self, number: int) -> None:
        for leftover in self._root.glob(".kfp-bert-*"):
            made = _SCRATCH.fullmatch(leftover.name)
            if not made or int(made[1]) > number:
                continue
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)

    def _scratch(self, what: str, number: int) -> Path:
        return Path(tempfile.mkdtemp(prefix=f".kfp-bert-{what}-{number}-", dir=self._root))

    @_said
    def read_owner(self) -> tuple[Owner | None, Generation]:
        path = self._root / MARKER
        try:
            generation, data = path.stat().st_mtime_ns, path.read_bytes()
        except FileNotFoundError:
            return None, 0
        return _load_owner(data, str(path)), generation

    @_said
    def write_owner(self, owner: Owner, generation: Generation) -> None:
        path = self._root / MARKER
        self._root.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".kfp-bert-incoming-{owner.number}-", dir=self._root)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(dump_record(asdict(owner)))
            os.chmod(name, 0o644)
            if not generation:
                os.link(name, path)  # which fails if another one was faster
            elif path.exists() and path.stat().st_mtime_ns == generation:
                os.replace(name, path)
            else:
                raise FileExistsError
        except FileExistsError:
            raise ConflictError(f"Another deployment changed {path} at the same moment: run again.") from None
        finally:
            Path(name).unlink(missing_ok=True)

    @_said
    def _read_metadata(self, number: int) -> tuple[bytes, str]:
        path = self._root / str(number) / METADATA
        try:
            return path.read_bytes(), str(path)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f"There is no file {path}.") from None


class _StoreFolder(VersionedFolder):
    """Nothing can be renamed in a bucket, so `saved_model.pb` is written last: it makes a version complete."""

    def __init__(self, store: Store) -> None:
        self._store, self.uri = store, store.uri
        self._changes = store  # what must not take effect later than it may; the rest is not visible, and can take long

    def limit_calls(self, seconds: float) -> None:
        self._changes = self._store.limited(seconds)

    def numbers(self) -> list[int]:
        return sorted(int(name) for name in self._store.folders() if is_number(name))

    def complete(self) -> list[int]:
        return _complete(self._store.list(checksums=False))

    def in_use(self) -> list[int]:
        parts = [entry.name.partition("/") for entry in self._store.list(checksums=False)]
        return sorted({int(folder) for folder, _, rest in parts if is_number(folder) and rest})

    def newest(self) -> tuple[int, dict[str, Entry]]:
        entries = self._store.list(checksums=False)
        number = max(_complete(entries), default=0)
        files = [entry for entry in entries if entry.name.startswith(f"{number}/")]
        if not all(entry.crc32c for entry in files):  # s3:// tells them one by one: only of this version
            files = self._store.list(f"{number}/")
        return number, {entry.name.partition("/")[2]: entry for entry in files} if number else {}

    def add(self, version: Path, number: int, check: Check = bool) -> None:
        if self._store.exists(f"{number}/{GRAPH}"):
            return
        with tempfile.TemporaryDirectory() as scratch:
            rest = Path(scratch) / "rest"
            shutil.copytree(version, rest, ignore=shutil.ignore_patterns(GRAPH))
            check()
            upload_folder(rest, self._store, str(number))
        check()
        name = f"{number}/{GRAPH}"
        try:
            self._changes.upload(version / GRAPH, name, if_generation=0, check=check)
        except ConflictError:  # our own upload whose answer was lost, or somebody else's
            if self._store.stat(name).crc32c != file_crc32c(version / GRAPH):
                raise

    def remove(self, number: int, check: Check = bool) -> None:
        self._delete(self._store.list(f"{number}/", checksums=False), check)

    def remove_parts(self, number: int, is_ours: Callable[[Entry], bool], check: Check = bool) -> None:
        self._delete([entry for entry in self._store.list(f"{number}/") if is_ours(entry)], check)

    def _delete(self, entries: Sequence[Entry], check: Check) -> None:
        for entry in sorted(entries, key=lambda entry: not entry.name.endswith(f"/{GRAPH}")):
            check()
            with suppress(NotFoundError):  # another run deletes the same version
                self._changes.delete(entry.name, if_generation=entry.generation)

    def remove_leftovers(self, number: int) -> None:
        """Nothing to do: a rollout records its number before the first object, and completes or removes it."""

    def read_owner(self) -> tuple[Owner | None, Generation]:
        try:
            blob = self._store.read(MARKER)
        except NotFoundError:
            return None, 0
        return _load_owner(blob.data, self._store.describe(MARKER)), blob.generation

    def write_owner(self, owner: Owner, generation: Generation) -> None:
        try:
            self._changes.write(MARKER, dump_record(asdict(owner)).encode(), if_generation=generation)
        except ConflictError:
            if self.read_owner()[0] != owner:  # else it is our own write, whose answer was lost
                raise

    def _read_metadata(self, number: int) -> tuple[bytes, str]:
        name = f"{number}/{METADATA}"
        return self._store.read(name).data, self._store.describe(name)


def _complete(entries: Sequence[Entry]) -> list[int]:
    parts = [entry.name.split("/") for entry in entries]
    return sorted({int(path[0]) for path in parts if is_number(path[0]) and path[1:] == [GRAPH]})


def is_number(name: str) -> bool:
    """Whether a name is a version's number as TensorFlow Serving knows it: ASCII digits only."""
    return name.isascii() and name.isdigit()
