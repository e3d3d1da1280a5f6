"""Downloads from Cloud Storage: many objects and ranges of large ones at once, all checked, retried, renamed.

A few threads each keep a window of requests on connections of their own: all are sent before the first reply
is read, so that waiting for one is waiting for all. What broke goes back to the queue with a delay. A body is
compared with the listing's size and crc32c, whatever the reply's headers say.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import google_crc32c

from kfp_bert_components.errors import UserError
from kfp_bert_components.storage._checksums import combine, encode
from kfp_bert_components.storage._client import client_for, explain_status, explained
from kfp_bert_components.storage._http import Connection, Head, TransientError
from kfp_bert_components.storage._signing import Signer
from kfp_bert_components.storage._types import Access, Entry, GoneError

THREADS = 8
WINDOW = 16  # requests under way in a thread ...
WINDOW_BYTES = 1 << 20  # ... unless more than this has been asked for
PART = 16 << 20  # larger objects are fetched in ranges of this size
TRIES = 8
CORRUPT_TRIES = 4
FIRST_DELAY, LONGEST_DELAY = 0.25, 20.0
_TRANSIENT = (408, 429, 500, 502, 503, 504)


@dataclass
class _Job:
    """One object on its way."""

    entry: Entry
    path: Path
    part: Path
    name: str  # quoted, for the address
    parts: list[int] = field(default_factory=list)  # checksum of each range, as far as they have come
    left: int = 0
    corrupt: int = 0
    file: int = -1


@dataclass
class _Part:
    job: _Job
    number: int
    start: int
    length: int
    tries: int = 0


def download_all(
    bucket: str,
    prefix: str,
    access: Access,
    wanted: Sequence[tuple[Entry, Path]],
    scratch: Path,
    progress: Callable[[int], object],
) -> None:
    """Bring listed objects to files; each file appears whole or not at all.

    Args:
        bucket: The bucket.
        prefix: What comes before the entries' names in it.
        access: Credentials.
        wanted: What to fetch, and where to.
        scratch: A folder on the same file system, for files that are not whole yet.
        progress: Called with numbers of bytes, from several threads, never at the same time.
    """
    if wanted:
        _Engine(bucket, prefix, access, wanted, scratch, progress).run()


class _Engine:
    def __init__(
        self,
        bucket: str,
        prefix: str,
        access: Access,
        wanted: Sequence[tuple[Entry, Path]],
        scratch: Path,
        progress: Callable[[int], object],
    ) -> None:
        client = client_for(access)
        self._url = client.api_endpoint
        self._signer = Signer(client, self._url, bucket, access)
        self._bucket, self._prefix, self._access = bucket, prefix, access
        self._progress, self._progress_lock = progress, threading.Lock()
        self._condition = threading.Condition()
        self._delayed: list[tuple[float, int, _Part]] = []
        self._order = itertools.count()
        self._failure: BaseException | None = None
        self._ready: deque[_Part] = deque()
        self._jobs = [
            _Job(entry, path, scratch / f"{os.getpid()}-{number}", quote(prefix + entry.name, safe=""))
            for number, (entry, path) in enumerate(wanted)
        ]
        for job in self._jobs:
            self._ready.extend(_ranges(job))
        self._left = len(self._ready)

    def run(self) -> None:
        workers = [
            threading.Thread(target=self._guarded, daemon=True) for _ in range(min(THREADS, self._left))
        ]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                worker.join()
        except BaseException as error:  # Ctrl-C: the threads stop at their next block
            self._fail(error)
            raise
        finally:
            if not any(worker.is_alive() for worker in workers):  # else they may still write
                for job in self._jobs:
                    if job.file >= 0:
                        os.close(job.file)
        if self._failure:
            raise self._failure

    def _guarded(self) -> None:
        try:
            self._work()
        except OSError as error:  # the connections' own errors are TransientError by now
            where = error.filename or self._jobs[0].path.parent
            reason = error.strerror or str(error)
            self._fail(UserError(f"{where} can't be written: {reason}. Make room or give another folder."))
        except BaseException as error:
            self._fail(error)

    def _work(self) -> None:
        window: deque[tuple[Connection, _Part]] = deque()
        idle: list[Connection] = []
        try:
            while not self._failure:
                asked = sum(part.length for _, part in window)
                while len(window) < WINDOW and (not window or asked < WINDOW_BYTES):
                    part = self._take(wait=not window)
                    if part is None:
                        break
                    if self._ask(part, window, idle):
                        asked += part.length
                if window:
                    self._answer(window, idle)
                elif self._finished():
                    return
        finally:
            for connection in [*idle, *(connection for connection, _ in window)]:
                connection.close()

    def _ask(self, part: _Part, window: deque[tuple[Connection, _Part]], idle: list[Connection]) -> bool:
        with explained(self._where(part.job), self._access):
            request = self._signer.request(part.job.name, part.job.entry, _range_header(part))
        try:
            connection = idle.pop() if idle else Connection(self._url)
            window.append((connection, part))
            connection.send(request)
        except TransientError as error:
            if window and window[-1][1] is part:
                window.pop()[0].close()
            self._again(part, str(error))
            return False
        return True

    def _answer(self, window: deque[tuple[Connection, _Part]], idle: list[Connection]) -> None:
        connection, part = window[0]
        done = False
        try:
            head = connection.head()
            if head.status in (200, 206):
                done = self._receive(connection, head, part)
            else:
                self._refused(part, head, b"".join(connection.body(head)))
        except TransientError as error:
            window.popleft()[0].close()
            self._again(part, str(error))
            return
        window.popleft()
        if head.headers.get("connection", "").lower() == "close":
            connection.close()
        else:
            idle.append(connection)
        if done:
            self._part_done()

    def _receive(self, connection: Connection, head: Head, part: _Part) -> bool:
        """Take a body; whether this part is done with."""
        if head.length is not None and head.length != part.length:
            raise TransientError(f"{head.length} bytes came instead of {part.length}")
        if head.status == 200 and part.length != part.job.entry.size:
            raise TransientError("the server sent the whole object instead of a range")
        if part.length == part.job.entry.size and part.length <= WINDOW_BYTES:
            return self._receive_small(connection, head, part)
        job, value, at = part.job, 0, part.start
        try:
            for block in connection.body(head):
                if self._failure:
                    raise TransientError("another object failed")
                _write(job.file, block, at)
                value = google_crc32c.extend(value, block)
                at += len(block)
                self._advance(len(block))
        except TransientError:
            self._advance(part.start - at)
            raise
        if at - part.start != part.length:
            self._advance(part.start - at)
            raise TransientError(f"{at - part.start} bytes came instead of {part.length}")
        with self._condition:
            job.parts[part.number] = value
            job.left -= 1
            last = job.left == 0
        return not last or self._complete(job)

    def _receive_small(self, connection: Connection, head: Head, part: _Part) -> bool:
        job = part.job
        data = b"".join(connection.body(head))
        if len(data) != job.entry.size:
            raise TransientError(f"{len(data)} bytes came instead of {job.entry.size}")
        if encode(google_crc32c.value(data)) != job.entry.crc32c:
            self._corrupt(job)
            self._again(part, "wrong bytes came", counted=False)
            return False
        file = os.open(job.part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            _write(file, data, 0)
        finally:
            os.close(file)
        os.replace(job.part, job.path)
        self._advance(len(data))
        return True

    def _complete(self, job: _Job) -> bool:
        """All ranges have come: compare, and make the file visible; or start over."""
        value = 0
        for (_, length), checksum in zip(_spans(job.entry.size), job.parts, strict=True):
            value = combine(value, checksum, length)
        if encode(value) == job.entry.crc32c:
            os.close(job.file)
            job.file = -1
            os.replace(job.part, job.path)
            return True
        self._corrupt(job)
        self._advance(-job.entry.size)
        again = list(_ranges(job))
        with self._condition:
            self._left += len(again)
        for one in again:
            self._again(one, "wrong bytes came", counted=False)
        return True

    def _corrupt(self, job: _Job) -> None:
        job.corrupt += 1
        if job.corrupt >= CORRUPT_TRIES:
            raise UserError(
                f"{self._where(job)} came with wrong bytes {job.corrupt} times: they don't match the crc32c "
                f"{job.entry.crc32c} of its listing. Look for a proxy that changes content, and try again."
            )

    def _refused(self, part: _Part, head: Head, body: bytes) -> None:
        text = body.decode(errors="replace")
        if head.status == 401 and self._signer.renew(part.tries):
            raise TransientError("the access token had run out")
        if head.status in _TRANSIENT:
            self._again(
                part, f"the server answered {head.status}", _seconds(head.headers.get("retry-after", ""))
            )
            return
        if head.status == 404 and "bucket does not exist" not in text.lower():
            raise GoneError(
                f"{self._where(part.job)} was replaced or deleted since it was listed.", self._where(part.job)
            )
        raise explain_status(head.status, text, self._where(part.job), self._access)

    def _again(self, part: _Part, reason: str, delay: float = 0.0, *, counted: bool = True) -> None:
        part.tries += counted
        if part.tries >= TRIES:
            raise UserError(
                f"{self._where(part.job)} can't be fetched: {reason}, "
                f"and so {part.tries} times. Try again later."
            )
        pause = min(FIRST_DELAY * 2 ** max(part.tries - 1, 0), LONGEST_DELAY) * random.uniform(0.5, 1.0)
        with self._condition:
            due = time.monotonic() + max(delay, pause)
            heapq.heappush(self._delayed, (due, next(self._order), part))
            self._condition.notify()

    def _take(self, *, wait: bool) -> _Part | None:
        """The next part to ask for; None if there is none now (`wait`: if there will be none)."""
        with self._condition:
            while not self._failure:
                now = time.monotonic()
                if self._delayed and self._delayed[0][0] <= now:
                    return self._opened(heapq.heappop(self._delayed)[2])
                if self._ready:
                    return self._opened(self._ready.popleft())
                if not wait or not self._left:
                    return None
                self._condition.wait(self._delayed[0][0] - now if self._delayed else None)
        return None

    def _opened(self, part: _Part) -> _Part:
        """The same part, its file opened if it is the first range of a large object."""
        job = part.job
        if job.file < 0 and (part.length != job.entry.size or part.length > WINDOW_BYTES):
            job.file = os.open(job.part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        return part

    def _finished(self) -> bool:
        with self._condition:
            return self._left == 0

    def _part_done(self) -> None:
        with self._condition:
            self._left -= 1
            if not self._left:
                self._condition.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._condition:
            self._failure = self._failure or error
            self._condition.notify_all()

    def _advance(self, count: int) -> None:
        with self._progress_lock:
            self._progress(count)

    def _where(self, job: _Job) -> str:
        return f"gs://{self._bucket}/{self._prefix}{job.entry.name}"


def _write(file: int, data: bytes, at: int) -> None:
    """Write all of `data`; a nearly full disk takes less than it is given without an error."""
    while data:
        count = os.pwrite(file, data, at)
        data, at = data[count:], at + count


def _spans(size: int) -> list[tuple[int, int]]:
    """Start and length of each range of an object."""
    return [(start, min(PART, size - start)) for start in range(0, size, PART)] or [(0, 0)]


def _ranges(job: _Job) -> list[_Part]:
    spans = _spans(job.entry.size)
    job.parts, job.left = [0] * len(spans), len(spans)
    return [_Part(job, number, start, length) for number, (start, length) in enumerate(spans)]


def _range_header(part: _Part) -> str:
    if part.length == part.job.entry.size:
        return ""
    return f"Range: bytes={part.start}-{part.start + part.length - 1}\r\n"


def _seconds(text: str) -> float:
    return min(float(text), LONGEST_DELAY) if text.isdigit() else 0.0
