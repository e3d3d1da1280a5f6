"""A store in a bucket of Cloud Storage, through google-cloud-storage."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import UserError
from kfp_bert_components.storage._checksums import crc32c
from kfp_bert_components.storage._client import client_for, explained, retry_for
from kfp_bert_components.storage._transfer import Download
from kfp_bert_components.storage._types import Access, Blob, Entries, Entry, Names, Store, check_name

_TIMEOUT = (10, 60)  # seconds to connect, and between two packets
_FIELDS = "items(name,size,crc32c,generation),prefixes,nextPageToken"


class GcsStore(Store):
    """Objects of a bucket below a prefix."""

    def __init__(self, bucket: str, prefix: str, access: Access) -> None:
        self.bucket, self.prefix, self.access = bucket, prefix, access
        self.uri = f"gs://{bucket}/{prefix}" if prefix else f"gs://{bucket}"
        self._start = f"{prefix}/" if prefix else ""
        self._calls: dict[str, Any] = {"retry": retry_for(access), "timeout": _TIMEOUT}

    def read(self, name: str) -> Blob:
        blob = self._blob(name)
        with explained(self.describe(name), self.access):
            # The generation and the checksum come with the bytes, in headers of the same reply.
            data = blob.download_as_bytes(raw_download=True, **self._calls)
        if blob.crc32c and blob.crc32c != crc32c(data):
            raise UserError(f"{self.describe(name)} arrived with wrong bytes: its crc32c differs. Try again.")
        if blob.generation is None:
            raise UserError(f"{self.describe(name)} came without a generation: the server is no Cloud Storage.")
        return Blob(data, int(blob.generation))

    def stat(self, name: str) -> Entry:
        blob = self._blob(name)
        with explained(self.describe(name), self.access):
            blob.reload(**self._calls)
        return self._entry(blob)

    def write(self, name: str, data: bytes, *, if_generation: int | None = None) -> int:
        blob = self._blob(name)
        with explained(self.describe(name), self.access):
            blob.upload_from_string(
                data,
                content_type=_content_type(name),
                if_generation_match=if_generation,
                checksum="crc32c",
                **self._calls,
            )
        return int(blob.generation)

    def upload(self, path: Path, name: str, *, if_generation: int | None = None) -> int:
        blob = self._blob(name)
        with explained(self.describe(name), self.access), path.open("rb") as file:
            blob.upload_from_file(
                file,
                size=os.fstat(file.fileno()).st_size,
                content_type=_content_type(name),
                if_generation_match=if_generation,
                checksum="crc32c",
                **self._calls,
            )
        return int(blob.generation)

    def download_all(
        self, wanted: Sequence[tuple[Entry, Path]], scratch: Path, progress: Callable[[int], object] = bool
    ) -> None:
        for entry, _ in wanted:
            check_name(entry.name)
        if wanted:
            Download(self.bucket, self._start, self.access, scratch, progress).run(wanted)

    def list(self, prefix: str = "", *, checksums: bool = True) -> Entries:
        with explained(self.describe(prefix), self.access):
            blobs = self._bucket().list_blobs(prefix=self._start + prefix, fields=_FIELDS, **self._calls)
            found = [self._entry(blob) for blob in blobs]
        # Consoles make empty objects called "folder/": they are no content.
        return sorted((one for one in found if not one.name.endswith("/")), key=lambda one: one.name)

    def folders(self, prefix: str = "") -> Names:
        start = self._start + (f"{prefix.rstrip('/')}/" if prefix else "")
        with explained(self.describe(prefix), self.access):
            pages = self._bucket().list_blobs(prefix=start, delimiter="/", fields=_FIELDS, **self._calls)
            for _ in pages:  # the prefixes are known when the pages have been read
                pass
        return sorted(name[len(start) : -1] for name in pages.prefixes)

    def delete(self, name: str, *, if_generation: int | None = None) -> None:
        with explained(self.describe(name), self.access):
            self._blob(name).delete(if_generation_match=if_generation, **self._calls)

    def _bucket(self) -> Any:
        return client_for(self.access).bucket(self.bucket, user_project=self.access.user_project or None)

    def _blob(self, name: str, generation: int | None = None) -> Any:
        return self._bucket().blob(self._start + check_name(name), generation=generation)

    def _entry(self, blob: Any) -> Entry:
        return Entry(blob.name[len(self._start) :], blob.size or 0, blob.crc32c, int(blob.generation))


def _content_type(name: str) -> str:
    endings = {
        ".json": "application/json",
        ".md": "text/markdown",
        ".txt": "text/plain",
        ".html": "text/html",
    }
    return endings.get(Path(name).suffix, "application/octet-stream")
