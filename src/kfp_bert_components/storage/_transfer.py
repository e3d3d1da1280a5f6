"""Objects of a bucket to files, through obstore: many at once, checked, visible only when whole.

Objects are asked for in parts of at most 8 MiB, many parts at once, and the parts are taken in the order in which they
were asked for. So one file at a time is written, from start to end, and its checksum grows with it. obstore repeats
requests that failed, and goes on with a body where its connection broke.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import obstore
from obstore.exceptions import BaseError, UnauthenticatedError

from kfp_bert_components.errors import UserError
from kfp_bert_components.storage._checksums import Check
from kfp_bert_components.storage._http import LONG, say_waiting
from kfp_bert_components.storage._types import Entry, too_large, unusable_name

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import ObjectStore

PART = 8 << 20
PARTS_AT_ONCE, BYTES_AT_ONCE = 256, 64 << 20
_CHUNK, _SMALL_CHUNK = 1 << 20, 16 << 10  # bytes of a body that are taken together
_SMALL_OBJECT = 256 << 10  # bytes up to which a body is taken in one piece, which costs less
TRIES = 4  # of an object whose bytes are wrong
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Part:
    """A range of an object, the file that the object becomes, and how often the object has come with wrong bytes."""

    entry: Entry
    path: Path
    start: int
    end: int
    tries: int


class Bodies(ABC):
    """The objects of one bucket, as a download asks for their bytes.

    Attributes:
        etag_is_md5: Whether an ETag that looks like an MD5 is checked as one where an entry has no crc32c.
        anonymous: Whether nobody signs in.
    """

    etag_is_md5: bool
    anonymous: bool

    @abstractmethod
    def store(self, *, anew: bool = False) -> ObjectStore:
        """The bucket; anew: sign in again, as what was used to sign in was refused."""

    @abstractmethod
    def key(self, entry: Entry) -> str:
        """The name of an object in the bucket."""

    @abstractmethod
    def where(self, entry: Entry) -> str:
        """The address of an object, for messages."""

    @abstractmethod
    def options(self, entry: Entry) -> GetOptions:
        """What asks for exactly the state of the object that was listed."""

    @abstractmethod
    def rest(self, entry: Entry, start: int, end: int) -> bytes:
        """A range of an object from a server that answers with another status than 206."""

    @abstractmethod
    def explained(self, error: Exception, entry: Entry) -> UserError:
        """The sentence for an error of obstore."""


class Download:
    """Listed objects on their way to files, from one bucket.

    Args:
        bodies: The bucket.
        scratch: A folder on the file system of the files, for the one that is not whole yet.
        progress: Called with numbers of bytes, from one thread.
    """

    def __init__(self, bodies: Bodies, scratch: Path, progress: Callable[[int], object]) -> None:
        self._bodies, self._store = bodies, bodies.store()
        self._scratch, self._progress = scratch / str(os.getpid()), progress
        self._parts: deque[_Part] = deque()
        self._file: BinaryIO | None = None
        self._check: Check | None = None
        self._said = False

    def run(self, wanted: Sequence[tuple[Entry, Path]]) -> None:
        """Bring these objects to these files; each appears whole or not at all."""
        for entry, path in wanted:
            self._parts.extend(_parts(entry, path, 0))
        wait_for(self._all())

    async def _all(self) -> None:
        asked: deque[tuple[_Part, asyncio.Task[Sequence[bytes]]]] = deque()
        size = 0
        try:
            while asked or self._parts:
                while self._parts and len(asked) < PARTS_AT_ONCE and size < BYTES_AT_ONCE:
                    part = self._parts.popleft()
                    asked.append((part, asyncio.create_task(self._body(part))))
                    size += part.end - part.start
                part, task = asked[0]
                self._take(part, await self._said_when_long(part, task))
                asked.popleft()
                size -= part.end - part.start
        finally:
            for _, task in asked:
                task.cancel()
            await asyncio.gather(*(task for _, task in asked), return_exceptions=True)
            with suppress(OSError):  # of a full disk, which is said already
                if self._file:
                    self._file.close()

    async def _said_when_long(self, part: _Part, task: asyncio.Task[Result]) -> Result:
        """What `task` gives. Only the first long wait is said: what moves forward has a progress bar."""
        if not self._said:
            await asyncio.wait({task}, timeout=LONG)
            if not task.done():
                self._said = True
                say_waiting(self._bodies.where(part.entry))
        return await task

    async def _body(self, part: _Part) -> Sequence[bytes]:
        """The bytes of a part; others, or none, where the server offers another number of them than it should.

        obstore goes on with a body that breaks, for as long as `patience`. Where that was not enough and bytes came
        meanwhile, the rest is asked for anew, in pieces so small that little is lost: what moves forward ends well.
        """
        chunks: list[bytes] = []
        length, came, signed_in, size = part.end - part.start, 0, False, _CHUNK
        while True:
            before, store, begun = came, self._store, False
            try:
                found = await self._answer(store, part, came)
                if (found.meta["size"], found.range) != (part.entry.size, (part.start + came, part.end)):
                    return chunks
                begun = True
                if part.entry.size <= _SMALL_OBJECT and size == _CHUNK:
                    return [bytes(await found.bytes_async())]
                async for chunk in found.stream(min_chunk_size=size):
                    chunks.append(bytes(chunk))
                    came += len(chunk)
                    if came > length:  # a body without end
                        return []
                return chunks
            except UnauthenticatedError as error:
                if signed_in or self._bodies.anonymous:
                    raise self._bodies.explained(error, part.entry) from None
                if store is self._store:  # the first one that is refused signs in for all
                    self._store = self._bodies.store(anew=True)
                signed_in = True
            except (BaseError, FileNotFoundError) as error:
                if "Content-Length Header missing" in str(error):
                    return []
                if "non-partial response" in str(error):
                    return [
                        *chunks,
                        await asyncio.to_thread(self._bodies.rest, part.entry, part.start + came, part.end),
                    ]
                if came == length:  # all is there, only its end was not said
                    return chunks
                if came == before and not (begun and size > _SMALL_CHUNK):
                    raise self._bodies.explained(error, part.entry) from None
                size = _SMALL_CHUNK

    async def _answer(self, store: ObjectStore, part: _Part, came: int) -> GetResult:
        """The answer to a request for what is left of a part, after the bytes that came."""
        entry, start = part.entry, part.start + came
        options = self._bodies.options(entry)
        if part.end - start < entry.size:
            options["range"] = (start, part.end)
        try:
            return await obstore.get_async(store, self._bodies.key(entry), options=options)
        except ValueError:  # obstore reads the name before it asks
            raise unusable_name(self._bodies.where(entry)) from None

    def _take(self, part: _Part, chunks: Sequence[bytes]) -> None:
        """Write a part. After the last one of its object compare, and make the file visible or start over."""
        try:
            if part.start == 0:
                self._file = self._scratch.open("wb")
                self._check = Check(part.entry, etag=self._bodies.etag_is_md5)
            assert self._file and self._check
            for chunk in chunks:
                self._file.write(chunk)
                self._check.add(chunk)
                self._progress(len(chunk))
            if part.end < part.entry.size:
                return
            written = self._file.tell()
            self._file.close()
            if self._check.right:
                os.replace(self._scratch, part.path)
                return
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(f"{part.path} can't be written: {reason}. Make room or give another folder.") from None
        self._progress(-written)
        if part.tries + 1 == TRIES:
            raise wrong_bytes(self._bodies.where(part.entry), f"{TRIES} times", self._check)
        self._parts.extend(_parts(part.entry, part.path, part.tries + 1))


class Held(BytesIO):
    """Bytes of an object that are read into memory, and never more than `limit`."""

    def __init__(self, where: str, limit: int) -> None:
        super().__init__()
        self._where, self._limit = where, limit

    def write(self, data: Any) -> int:
        """Add bytes; UserError where they are too many."""
        if self.tell() + len(data) > self._limit:
            raise too_large(self._where, self._limit)
        return super().write(data)


def _parts(entry: Entry, path: Path, tries: int) -> Iterator[_Part]:
    for start in range(0, entry.size or 1, PART):
        yield _Part(entry, path, start, min(start + PART, entry.size), tries)


def wrong_bytes(where: str, often: str, check: Check) -> UserError:
    """The error about an object that comes with other bytes than it should."""
    wanted = f" and {check.wanted}" if check.wanted else ""
    return UserError(
        f"{where} came with wrong bytes {often}: they don't match the size{wanted} of its listing. Look for a proxy "
        "that changes content, and try again."
    )


def wait_for(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, run in a thread of its own: a caller's may have an event loop already, as a notebook's."""
    running: Future[tuple[asyncio.AbstractEventLoop, Any]] = Future()

    async def main() -> Result:
        running.set_result((asyncio.get_running_loop(), asyncio.current_task()))
        return await work

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(asyncio.run, main())
        try:
            return done.result()
        finally:
            if not done.done():  # Ctrl-C
                loop, task = running.result()
                loop.call_soon_threadsafe(task.cancel)
