"""Where the versions of a served model come from: a folder or a registry, on this machine or in a bucket."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.serving.versions import (
    BUNDLE,
    GRAPH,
    METADATA,
    MODELS,
    OF_REGISTRY,
    OWNER,
    Found,
    ModelVersion,
    find_versions,
    is_content,
    no_model_error,
    of_registry_error,
    read_version,
    version_names,
)

if TYPE_CHECKING:
    from kfp_bert_components.storage import Address, Entry

Source = Callable[[], list[Found]]  # the versions that are there now, the newest first; see `find_versions`
REGISTRY = ("champion.json", "registry.json")


def open_source(path: str | Path) -> Source:
    """The source of the versions at an address, which is looked at anew by each call.

    Args:
        path: A model bundle, a SavedModel folder, a folder of versions, or a registry (its champion is served), on this
            machine or in a bucket. What is in a bucket is downloaded when it is read, and again when it has changed.

    Raises:
        UserError: `path` is no address, or there is no place for a copy.
    """
    from kfp_bert_components.storage import is_file, parse_address

    address = parse_address(path, "the path to serve")
    if not address.is_local:
        return _Bucket(address).versions

    def versions() -> list[Found]:
        if not any(is_file(address.path / name) for name in REGISTRY):
            return find_versions(address.path)
        number = _champion(str(address))
        folder = address.path / "versions" / str(number) / "bundle"
        return [Found(number, lambda: replace(read_version(folder, number), registry_version=number))] if number else []

    return versions


def _champion(registry: str) -> int:
    """The number of the registry's champion; 0 while it has none."""
    from kfp_bert_components.registry import Registry

    champion = Registry(registry).champion()
    return champion.version if champion else 0


def _new_scratch(address: Address) -> Path:
    """A folder for copies of what is at an address, which goes when the process ends."""
    try:
        scratch = Path(tempfile.mkdtemp(prefix="kfp-bert-serve-"))
    except FileNotFoundError:
        raise UserError(
            f"{address} is copied to a temporary folder, and there is no place here that can be written: mount a "
            "volume at /tmp, or set TMPDIR to a folder."
        ) from None
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    return scratch


class _Bucket:
    """A source in a bucket.

    A version is known by the names, sizes and generations of its objects, which a listing says: nothing is downloaded
    to see that it is the same. In a temporary folder there are at most three copies, of the versions that were
    downloaded last: one of them may be gone back to, or tried again. What is cleaned away there is downloaded again.
    """

    def __init__(self, address: Address) -> None:
        from kfp_bert_components.storage import open_store

        self._address, self._scratch = address, _new_scratch(address)
        self._store = open_store(address)

    def versions(self) -> list[Found]:
        if any(self._store.exists(name) for name in REGISTRY):
            number = _champion(str(self._address))
            if not number:
                return []
            start = f"versions/{number}/bundle/"
            found = self._found(number, start, self._store.list(start, checksums=False))
            return [replace(found, read=lambda: replace(found.read(), registry_version=number))]
        return self._folder_versions()

    def _folder_versions(self) -> list[Found]:
        entries = self._store.list(checksums=False)
        if not entries:
            raise NotFoundError(f"{self._address} holds no files: give {MODELS}.")
        names = {entry.name for entry in entries}
        if names & {BUNDLE, GRAPH, f"saved_model/{GRAPH}"}:
            return [self._found(1, "", entries)]
        above, folders = self._address.split()[0], {name.partition("/")[0] for name in names}
        numbers = version_names(folders)
        if OF_REGISTRY in names:
            raise of_registry_error(self._address, above.split()[0])
        for name in numbers.values():
            if f"{name}/{OF_REGISTRY}" in names:
                raise of_registry_error(self._address / name, above)
        if not numbers and any(map(is_content, folders)):
            raise no_model_error(self._address)
        metadata = {f"{name}/{file}" for name in numbers.values() for file in (METADATA, BUNDLE)}
        deployed = OWNER in names or bool(metadata & names)
        return [
            self._found(number, start, [one for one in entries if one.name.startswith(start)], deployed)
            for number, start in sorted(((number, f"{name}/") for number, name in numbers.items()), reverse=True)
            if {start + name for name in (GRAPH, f"saved_model/{GRAPH}", BUNDLE)} & names
        ]

    def _found(self, number: int, start: str, entries: list[Entry], deployed: bool = False) -> Found:
        known = [(entry.name, entry.size, entry.generation) for entry in entries]
        stamp = hashlib.sha256(repr((deployed, known)).encode()).hexdigest()
        return Found(number, partial(self._read, number, stamp, start, entries, deployed), stamp)

    def _read(self, number: int, stamp: str, start: str, entries: list[Entry], deployed: bool) -> ModelVersion:
        """What is in a version: it is downloaded, unless there is a whole copy of these generations of its objects."""
        if not self._scratch.is_dir():
            self._scratch = _new_scratch(self._address)  # of a new name: another user may have made one of the old name
        folder = self._scratch / f"{number}-{stamp[:32]}"
        # What a console makes for a folder holds nothing: its name is empty, or ends with a slash.
        files = {entry.name.removeprefix(start): entry for entry in entries if entry.name[-1:] not in ("", "/")}
        if not all((folder / name).is_file() for name in files):
            self._download(folder, files)
        return read_version(folder, number, deployed=deployed, stamp=stamp)

    def _download(self, folder: Path, files: dict[str, Entry]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        for old in sorted(self._scratch.iterdir(), key=lambda path: path.stat().st_mtime)[:-2]:
            shutil.rmtree(old, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=self._scratch) as scratch:
            new = Path(scratch, folder.name)
            wanted = [(entry, new / name) for name, entry in files.items()]
            for _, path in wanted:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._store.download_all(wanted, Path(scratch))
            new.rename(folder)
