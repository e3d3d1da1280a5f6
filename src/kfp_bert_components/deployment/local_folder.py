"""A folder of numbered model versions on a disk."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from kfp_bert_components.deployment.versioned_folder import (
    GRAPH,
    MARKER,
    METADATA,
    Check,
    Owner,
    VersionedFolder,
    is_number,
    load_owner,
)
from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.records import dump_record
from kfp_bert_components.storage import Address, Entry, Generation, open_file, open_store

# What `LocalFolder` makes for a moment. Names of others, such as .incoming-new-model, are left alone.
_SCRATCH = re.compile(r"\.kfp-bert-(?:incoming|outgoing)-([0-9]+)-[a-z0-9_]{8}")

Method = TypeVar("Method", bound=Callable[..., Any])


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
    """A method of `LocalFolder` whose errors of the file system are sentences."""

    @wraps(method)
    def call(self: LocalFolder, *arguments: Any) -> Any:
        with _explained(self._root):
            return method(self, *arguments)

    return cast(Method, call)


def _rename(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)  # refused where there is a folder with files in it
    except OSError as error:
        raise ConflictError(f"{target} cannot be made: {error.strerror or error}.") from error


def _bytes(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read()


class LocalFolder(VersionedFolder):
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
        scratch = self._scratch("incoming", number)
        try:
            shutil.copytree(version, scratch / "model")
            check()
            _rename(scratch / "model", target)
        except Exception:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        scratch.rmdir()

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
            generation, data = path.stat().st_mtime_ns, _bytes(path)
        except FileNotFoundError:
            return None, 0
        return load_owner(data, str(path)), generation

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
            return _bytes(path), str(path)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f"There is no file {path}.") from None
