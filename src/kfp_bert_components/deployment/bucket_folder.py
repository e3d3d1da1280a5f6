"""A folder of numbered model versions in a bucket."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

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
from kfp_bert_components.errors import ConflictError, NotFoundError
from kfp_bert_components.records import dump_record
from kfp_bert_components.storage import Entry, Generation, Store, file_crc32c, upload_folder


class BucketFolder(VersionedFolder):
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
        return load_owner(blob.data, self._store.describe(MARKER)), blob.generation

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
