"""A store in a bucket of S3, or of a store that speaks its language, through obstore.

A generation is the ETag, which is what writes can be made to depend on. An ETag is made of the bytes, so the same bytes
have the same one. Records must be told apart by every write, also where they say the same: a lease that is renewed is
one. So what `write` stores under a name in .json ends with a line of blanks that is another one each time.

obstore sends a write again after an answer of 5xx, and this module after none, and then what the first try wrote may be
there. So each write with a condition has a name of its own in the object's metadata, by which it is known again.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import BaseError

from kfp_bert_components.errors import ConflictError, NoBucketError, NotFoundError, UserError
from kfp_bert_components.storage._access import HURRIED, Access
from kfp_bert_components.storage._checksums import Check, crc32c, file_crc32c
from kfp_bert_components.storage._http import is_plain, said_when_long
from kfp_bert_components.storage._s3_client import UnreachableError, bucket_for, explain, explained
from kfp_bert_components.storage._s3_settings import S3Settings, s3_settings
from kfp_bert_components.storage._transfer import PART, TRIES, Bodies, Download, wait_for, wrong_bytes
from kfp_bert_components.storage._types import (
    WRITE,
    Blob,
    Entries,
    Entry,
    Generation,
    GoneError,
    Names,
    Store,
    check_name,
    content_type,
    too_large,
    unreadable_marker,
    without_markers,
)

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta, PutMode
    from obstore.store import S3Store as Bucket

_LARGEST = 256 << 20  # bytes of an object that `read` takes into memory
_LARGE = 64 << 20  # bytes of a file of which one at a time is sent whole, as it is in memory then
_PAUSES = 0.1, 5.0  # seconds between tries: the first and the longest
_LARGEST_WHOLE = 5 << 30  # bytes that S3 takes in one request
_REQUESTS = 64  # at once
_BLANKS = re.compile(rb"\n[ \t]{64}\Z")
_CRC32C = "crc32c"  # metadata of what this package writes, as S3's own checksums do not come through obstore
_PROBE = ".probe-"
_honest: set[tuple[S3Settings, str]] = set()  # buckets whose store keeps to conditions
_large = threading.Lock()
_Answer = TypeVar("_Answer")


class S3Store(Store):
    """Objects of a bucket below a prefix."""

    def __init__(self, scheme: str, bucket: str, prefix: str, access: Access) -> None:
        self.uri = f"{scheme}://{bucket}/{prefix}".rstrip("/")
        self.access, self._name, self._address = access, bucket, (scheme, bucket, prefix)
        self._start = f"{prefix}/" if prefix else ""

    def limited(self, seconds: float) -> S3Store:
        return S3Store(*self._address, self.access.within(seconds))

    @cached_property
    def _settings(self) -> S3Settings:
        return s3_settings(self.uri, self.access.anonymous)

    def read(self, name: str, *, limit: int | None = None) -> Blob:
        check_name(name)
        where, most = self.describe(name), _LARGEST if limit is None else limit
        for _ in range(TRIES):
            with explained(where, self._settings):
                found = obstore.get(self._bucket(), self._start + name)
                entry = self._entry(found.meta, found.attributes)
                if entry.size > most + (65 if name.endswith(".json") else 0):
                    raise too_large(where, most)
                data = bytes(found.bytes())
            check = Check(entry, etag=self._plain)
            check.add(data)
            if check.right:
                data = _BLANKS.sub(b"", data) if name.endswith(".json") else data
                if len(data) > most:
                    raise too_large(where, most)
                return Blob(data, entry.generation)
        raise wrong_bytes(where, f"{TRIES} times", check)

    def stat(self, name: str) -> Entry:
        check_name(name)
        with explained(self.describe(name), self._settings):
            found = obstore.get(self._bucket(), self._start + name, options={"head": True})
        return self._entry(found.meta, found.attributes)

    def write(self, name: str, data: bytes, *, if_generation: Generation | None = None) -> Generation:
        if name.endswith(".json"):
            blanks = f"{secrets.randbits(64):064b}".translate({48: " ", 49: "\t"})
            data = data + b"\n" + blanks.encode()
        return self._put(name, data, crc32c(data), if_generation, use_multipart=False)

    def upload(
        self, path: Path, name: str, *, if_generation: Generation | None = None, check: Callable[[], object] = bool
    ) -> Generation:
        check()
        size, checksum = path.stat().st_size, file_crc32c(path)
        if if_generation is None:
            return self._put(name, path, checksum, None, chunk_size=PART)
        # Only what is sent in one request can have a condition.
        if size > _LARGEST_WHOLE:
            raise UserError(f"{path} has {size:,} bytes, and S3 takes {_LARGEST_WHOLE:,} at once: make it smaller.")
        with _large if size > _LARGE else nullcontext():
            return self._put(name, path, checksum, if_generation)

    def _put(
        self, name: str, data: bytes | Path, checksum: str, if_generation: Generation | None, **how: Any
    ) -> Generation:
        check_name(name)
        if if_generation is not None:
            self._check_conditions()
            return self._put_if(name, data, checksum, if_generation)
        where, attributes = self.describe(name), {"Content-Type": content_type(name), _CRC32C: checksum}
        with explained(where, self._settings):
            return _generation(
                obstore.put(self._bucket_for(data), self._start + name, data, attributes=attributes, **how), where
            )

    def _put_if(self, name: str, data: bytes | Path, checksum: str, if_generation: Generation) -> Generation:
        """Write with a condition. That this very write is there already is no conflict: its answer was lost."""
        where, write = self.describe(name), uuid.uuid4().hex
        attributes = {"Content-Type": content_type(name), _CRC32C: checksum, WRITE: write}
        send = partial(
            obstore.put,
            self._bucket_for(data),
            self._start + name,
            data,
            attributes=attributes,
            mode=_mode(if_generation),
            use_multipart=False,
        )
        try:
            return _generation(self._patiently(send, where), where)
        except ConflictError:
            with suppress(NotFoundError), explained(where, self._settings):
                found = obstore.get(self._bucket(), self._start + name, options={"head": True})
                if found.attributes.get(WRITE) == write:
                    return _generation(found.meta, where)
            raise

    def _bucket_for(self, data: bytes | Path) -> Bucket:
        """The bucket to write to. A large file, which is one request, is sent for as long as it takes."""
        if not isinstance(data, Path):
            return self._bucket()
        large = data.stat().st_size > _LARGE
        return bucket_for(
            self._name, self._settings, replace(self.access, most_seconds=0.0) if large else self.access, upload=True
        )

    def _patiently(self, call: Callable[[], _Answer], where: str) -> _Answer:
        """What a call gives, made again where a connection broke: in such ones obstore gives up."""
        until, pause = time.monotonic() + self.access.patience, _PAUSES[0]
        with said_when_long(f"{where} from {self._settings.place}"):
            while True:
                try:
                    return call()
                except (BaseError, OSError, ValueError) as error:
                    found = explain(error, where, self._settings)
                    if not isinstance(found, UnreachableError) or time.monotonic() > until:
                        raise found from None
                time.sleep(min(pause, max(until - time.monotonic(), 0.0)))
                pause = min(2 * pause, _PAUSES[1])

    def list(self, prefix: str = "", *, checksums: bool = True) -> Entries:
        start = self._start + prefix
        with explained(self.describe(prefix), self._settings):
            # obstore lists folders; what only begins with the same letters is sorted out here.
            pages = obstore.list(self._bucket(), start.rpartition("/")[0] or None, chunk_size=1000)
            found = [self._entry(meta, {}) for page in pages for meta in page if meta["path"].startswith(start)]
            found = self._looked_at(found, checksums) if found else self._surely_nothing()
        found = sorted(found, key=lambda one: one.name)
        return [one for one in without_markers(found) if not one.name.rpartition("/")[2].startswith(_PROBE)]

    def folders(self, prefix: str = "") -> Names:
        start = self._start + (f"{prefix.rstrip('/')}/" if prefix else "")
        with explained(self.describe(prefix), self._settings):
            # Asked for folders, SeaweedFS names one for minutes after its last object is gone: so ask for objects.
            pages = obstore.list(self._bucket(), start or None, chunk_size=1000)
            names = [meta["path"][len(start) :] for page in pages for meta in page] or self._surely_nothing()
        return sorted({name.partition("/")[0] for name in names if "/" in name})

    def delete(self, name: str, *, if_generation: Generation | None = None) -> None:
        etag = _etag(self.stat(name).generation)  # S3 does not say whether there was something to delete
        if if_generation is not None and etag != _etag(if_generation):
            raise ConflictError(f"{self.describe(name)} was changed by somebody else since it was read.")
        bucket = self._bucket(if_match=etag if if_generation is not None else "")
        try:
            self._patiently(partial(obstore.delete, bucket, self._start + name), self.describe(name))
        except (ConflictError, NotFoundError):
            if self.exists(name):  # else a try whose answer was lost has deleted it
                raise

    def download_all(
        self, wanted: Sequence[tuple[Entry, Path]], scratch: Path, progress: Callable[[int], object] = bool
    ) -> None:
        for entry, _ in wanted:
            check_name(entry.name)
        if wanted:
            bodies = _S3Bodies(self, self._bucket(), self._settings, self._start, self._plain)
            Download(bodies, scratch, progress).run(wanted)

    @property
    def _plain(self) -> bool:
        """Whether bytes come without TLS, which would see to it that they are right."""
        return is_plain(self._settings.endpoint)

    def _bucket(self, **kind: Any) -> Bucket:
        return bucket_for(self._name, self._settings, self.access, **kind)

    def _entry(self, meta: ObjectMeta, attributes: Any) -> Entry:
        name = meta["path"][len(self._start) :]
        generation = _generation(meta, self.describe(name))
        return Entry(name, meta["size"], attributes.get(_CRC32C, ""), generation, meta["last_modified"].timestamp())

    def _looked_at(self, found: Entries, checksums: bool) -> Entries:
        """What a listing does not say: which empty ones are folders only; and checksums and versions.

        Where the newest object has neither, no other one is asked for them.
        """
        empty = [one for one in found if not one.size]
        newest = [max(found, key=lambda one: one.modified)] if checksums and found else []
        seen = wait_for(self._heads({one.name for one in [*empty, *newest]})) if empty or newest else {}
        if newest and (last := seen[newest[0].name]) and (last.crc32c or " " in str(last.generation)):
            seen |= wait_for(self._heads({one.name for one in found} - seen.keys()))
        twice = {one.name for one, other in pairwise(sorted(found, key=lambda one: one.name)) if one.name == other.name}
        for listed in found:
            if listed.size and (listed.name in twice or seen.get(listed.name, listed) is None):
                self._check_end(listed.name)
        # "a" and the folder "a/", which obstore names "a" too, are one object.
        return list({one.name: one for listed in found if (one := seen.get(listed.name, listed))}.values())

    def _check_end(self, name: str) -> None:
        """UserError where an object's name is this one with a "/" at its end, which obstore leaves out."""
        path = self._start + name
        # What is listed below a folder begins with its name and "/".
        if any(meta["path"] == path and meta["size"] for page in obstore.list(self._bucket(), path) for meta in page):
            raise unreadable_marker(self.describe(name))

    def _surely_nothing(self) -> Any:
        """An empty list, after a look whether it is a store that said so: any page reads as an empty listing."""
        try:
            obstore.head(self._bucket(), self._start + _PROBE + uuid.uuid4().hex)
        except FileNotFoundError:
            return []
        raise UserError(
            f"{self.uri} can't be listed: the answer is not an S3 store's. Look for a proxy that answers instead of "
            f"{self._settings.place}."
        )

    async def _heads(self, names: set[str]) -> dict[str, Entry | None]:
        """The entries of these objects; None where there is no object of this very name."""
        turn = asyncio.Semaphore(_REQUESTS)

        async def one(name: str) -> tuple[str, Entry | None]:
            async with turn:
                with suppress(FileNotFoundError):
                    found = await obstore.get_async(self._bucket(), self._start + name, options={"head": True})
                    return name, self._entry(found.meta, found.attributes)
            return name, None

        return dict(await asyncio.gather(*map(one, names)))

    def _check_conditions(self) -> None:
        """Try, once a process and bucket, whether the store keeps to conditions: old ones overlook them.

        Raises:
            UserError: It does not, or an object beside the others can't be written.
        """
        known = (self._settings, self._name)
        if known in _honest:
            return
        if overlooked := self._overlooked():
            raise UserError(
                f"{self.uri} can't be written safely: {self._settings.place} does not keep to conditions "
                f"({overlooked}), so of two runs that write at once both would win. Use a newer version of that "
                "store, another store, gs://, or a volume; docs/s3.md names stores that can be used."
            )
        _honest.add(known)

    def _overlooked(self) -> str:
        """The condition that the store does not keep to, "" where it keeps to all, tried with an object of its own."""
        name = _PROBE + uuid.uuid4().hex
        try:
            overlooked = self._tried(name)
        except UserError:  # what failed may have taken effect
            hurried = copy.copy(self)
            hurried.access = replace(self.access, patience=HURRIED)
            with suppress(UserError):
                hurried.delete(name)
            raise
        self.delete(name)
        return overlooked

    def _tried(self, name: str) -> str:
        other = hashlib.md5(b"", usedforsecurity=False).hexdigest()
        if self._takes(name, other):
            return "If-Match where there is no object"
        made = self._put_if(name, b"1", crc32c(b"1"), 0)
        if self._takes(name, 0):
            return "If-None-Match"
        if self._takes(name, other):
            return "If-Match"
        return "" if self._takes(name, made) else "If-Match with the right ETag"

    def _takes(self, name: str, if_generation: Generation) -> bool:
        """Whether the store takes a write with this condition."""
        try:
            self._put_if(name, b"2", crc32c(b"2"), if_generation)
        except ConflictError:
            return False
        return True


class _S3Bodies(Bodies):
    """The objects of a store, as a download asks for their bytes."""

    def __init__(self, store: S3Store, bucket: Bucket, settings: S3Settings, start: str, plain: bool) -> None:
        self._store, self._bucket, self._settings, self._start = store, bucket, settings, start
        self.etag_is_md5, self.anonymous = plain, True  # obstore renews credentials itself

    def store(self, *, anew: bool = False) -> Bucket:
        return self._bucket

    def key(self, entry: Entry) -> str:
        return self._start + entry.name

    def where(self, entry: Entry) -> str:
        return self._store.describe(entry.name)

    def options(self, entry: Entry) -> GetOptions:
        etag, _, version = str(entry.generation).partition(" ")
        return {"version": version} if version else {"if_match": f'"{etag}"'}

    def rest(self, entry: Entry, start: int, end: int) -> bytes:
        raise UserError(f"{self.where(entry)} can't be fetched: {self._settings.place} gives no parts of objects.")

    def explained(self, error: Exception, entry: Entry) -> UserError:
        where = self.where(entry)
        found = explain(error, where, self._settings)
        if isinstance(found, (ConflictError, NotFoundError)) and not isinstance(found, NoBucketError):
            return GoneError(f"{where} was replaced or deleted since it was listed.", where)
        return found


def _generation(made: Any, where: str) -> str:
    """The generation of an answer's ETag and version."""
    etag, version = (made["e_tag"] or "").removeprefix("W/").strip('"'), made["version"]
    if not etag:
        raise UserError(f"{where} came without an ETag: the server is no S3 store.")
    return f"{etag} {version}" if version and version != "null" else etag


def _etag(generation: Generation) -> str:
    return str(generation).partition(" ")[0]


def _mode(if_generation: Generation) -> PutMode:
    return {"e_tag": f'"{_etag(if_generation)}"'} if if_generation else "create"
