"""A store in a bucket of Cloud Storage, through google-cloud-storage."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.storage._access import Access
from kfp_bert_components.storage._checksums import crc32c
from kfp_bert_components.storage._client import client_for, explained, retry_for
from kfp_bert_components.storage._gcs_bodies import GcsBodies
from kfp_bert_components.storage._http import TIMEOUT
from kfp_bert_components.storage._transfer import PART, Download, Held
from kfp_bert_components.storage._types import (
    WRITE,
    Blob,
    Entries,
    Entry,
    Generation,
    Names,
    Store,
    check_name,
    content_type,
    unreadable_marker,
    without_markers,
)

_LARGEST = 256 << 20  # bytes of an object that `read` takes into memory
_NOTHING = crc32c(b"")  # some emulators leave out a size of 0
_FIELDS = "items(name,size,crc32c,generation),prefixes,nextPageToken"


class _Checked:
    """A file that is uploaded: `check` is called before each part of it is read."""

    def __init__(self, file: BinaryIO, check: Callable[[], object]) -> None:
        self._file, self._check = file, check

    def read(self, size: int = -1) -> bytes:
        self._check()
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class GcsStore(Store):
    """Objects of a bucket below a prefix."""

    def __init__(self, bucket: str, prefix: str, access: Access) -> None:
        self.bucket, self.prefix, self.access = bucket, prefix, access
        self.uri = f"gs://{bucket}/{prefix}" if prefix else f"gs://{bucket}"
        self._start = f"{prefix}/" if prefix else ""
        most = min(access.most_seconds or TIMEOUT[1], TIMEOUT[1])
        self._calls: dict[str, Any] = {"retry": retry_for(access), "timeout": (min(TIMEOUT[0], most), most)}

    def limited(self, seconds: float) -> GcsStore:
        return GcsStore(self.bucket, self.prefix, self.access.within(seconds))

    def read(self, name: str, *, limit: int | None = None) -> Blob:
        held = Held(self.describe(name), _LARGEST if limit is None else limit)
        with self._blob(name) as blob:
            # The generation and the checksum come with the bytes, in headers of the same reply.
            blob.download_to_file(held, raw_download=True, **self._calls)
        data = held.getvalue()
        if blob.crc32c and blob.crc32c != crc32c(data):
            raise UserError(f"{self.describe(name)} arrived with wrong bytes: its crc32c differs. Try again.")
        if blob.generation is None:
            raise UserError(f"{self.describe(name)} came without a generation: the server is no Cloud Storage.")
        return Blob(data, int(blob.generation))

    def stat(self, name: str) -> Entry:
        with self._blob(name) as blob:
            blob.reload(**self._calls)
        return self._entry(blob)

    def write(self, name: str, data: bytes, *, if_generation: Generation | None = None) -> int:
        return self._put(name, if_generation, lambda blob, how: blob.upload_from_string(data, **how))

    def upload(
        self, path: Path, name: str, *, if_generation: Generation | None = None, check: Callable[[], object] = bool
    ) -> int:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size

            def send(blob: Any, how: dict[str, Any]) -> None:
                if self.access.most_seconds:
                    blob.chunk_size = PART  # so that no request takes long
                blob.upload_from_file(_Checked(file, check), size=size, **how)

            return self._put(name, if_generation, send)

    def _put(self, name: str, if_generation: Generation | None, send: Callable[[Any, dict[str, Any]], None]) -> int:
        """Write. That this very write is there already is no conflict: the client sent it again as a reply was lost."""
        write, how = uuid.uuid4().hex, {"content_type": content_type(name), "checksum": "crc32c", **self._calls}
        try:
            with self._blob(name) as blob:
                if if_generation is not None:
                    blob.metadata = {WRITE: write}
                send(blob, {**how, "if_generation_match": if_generation})
        except ConflictError:
            with suppress(NotFoundError), self._blob(name) as blob:
                blob.reload(**self._calls)
            if (blob.metadata or {}).get(WRITE) != write:
                raise
        return int(self._entry(blob).generation)

    def download_all(
        self, wanted: Sequence[tuple[Entry, Path]], scratch: Path, progress: Callable[[int], object] = bool
    ) -> None:
        for entry, _ in wanted:
            check_name(entry.name)
        if wanted:
            Download(GcsBodies(self.bucket, self._start, self.access), scratch, progress).run(wanted)

    def list(self, prefix: str = "", *, checksums: bool = True) -> Entries:
        with explained(self.describe(prefix), self.access):
            blobs = self._bucket().list_blobs(prefix=self._start + prefix, fields=_FIELDS, **self._calls)
            found = sorted((self._entry(blob) for blob in blobs), key=lambda one: one.name)
        for one in found:
            if one.size and one.name.endswith("/"):
                raise unreadable_marker(self.describe(one.name.rstrip("/")))
        return without_markers(found)

    def folders(self, prefix: str = "") -> Names:
        start = self._start + (f"{prefix.rstrip('/')}/" if prefix else "")
        with explained(self.describe(prefix), self.access):
            pages = self._bucket().list_blobs(prefix=start, delimiter="/", fields=_FIELDS, **self._calls)
            for _ in pages:  # the prefixes are known when the pages have been read
                pass
        return sorted(name[len(start) : -1] for name in pages.prefixes)

    def delete(self, name: str, *, if_generation: Generation | None = None) -> None:
        again: list[Exception] = []  # what tries failed by that were made again
        retry = retry_for(self.access, again.append)
        try:
            with self._blob(name) as blob:
                blob.delete(if_generation_match=if_generation, **{**self._calls, "retry": retry})
        except NotFoundError:
            if not again:  # else a try whose reply was lost has deleted it
                raise

    def _bucket(self) -> Any:
        return client_for(self.access).bucket(self.bucket, user_project=self.access.user_project or None)

    @contextmanager
    def _blob(self, name: str) -> Iterator[Any]:
        """The client's object of this name; its errors, also those of signing in, are turned into sentences."""
        check_name(name)
        with explained(self.describe(name), self.access):
            yield self._bucket().blob(self._start + name)

    def _entry(self, blob: Any) -> Entry:
        name = blob.name[len(self._start) :]
        size = 0 if blob.size is None and blob.crc32c == _NOTHING else blob.size
        if size is None or blob.generation is None or blob.crc32c is None:
            raise UserError(
                f"{self.describe(name)} came without its size, generation or crc32c: the server is no Cloud Storage."
            )
        generation = int(blob.generation)  # the time of the write in microseconds
        return Entry(name, size, blob.crc32c, generation, generation / 1e6)
