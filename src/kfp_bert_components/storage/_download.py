"""Downloads from Cloud Storage: many objects and ranges of large ones at once, all checked, retried, renamed.

A few threads each keep a window of requests on connections of their own: all are sent before the first reply
is read, so that waiting for one is waiting for all. What broke goes back to the queue with a delay. A body is
compared with the listing's size and crc32c, whatever the reply's headers say.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import google_crc32c

from kfp_bert_components.errors import UserError
from kfp_bert_components.storage._checksums import combine, encode
from kfp_bert_components.storage._client import client_for, explain_status, explained
from kfp_bert_components.storage._http import Connection, Head, TransientError
from kfp_bert_components.storage._parts import LONGEST_DELAY, Job, Part, Parts, spans
from kfp_bert_components.storage._signing import Signer
from kfp_bert_components.storage._types import Access, Entry, GoneError

THREADS = min(8, 2 * (os.cpu_count() or 1))  # more take turns instead of working
WINDOW = 128 // THREADS  # requests under way in a thread ...
WINDOW_BYTES = 1 << 20  # ... unless more than this has been asked for
TRIES = 8
CORRUPT_TRIES = 4
_TRANSIENT = (408, 429, 500, 502, 503, 504)

Window = deque[tuple[Connection, Part]]


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
        self._files_lock = threading.Lock()
        self._jobs = [
            Job(entry, path, scratch / f"{os.getpid()}-{number}", quote(prefix + entry.name, safe=""))
            for number, (entry, path) in enumerate(wanted)
        ]
        self._parts = Parts(self._jobs)

    def run(self) -> None:
        workers = [threading.Thread(target=self._guarded, daemon=True) for _ in range(min(THREADS, self._parts.left))]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                worker.join()
        except BaseException as error:  # Ctrl-C: the threads stop at their next block
            self._parts.fail(error)
            raise
        finally:
            if not any(worker.is_alive() for worker in workers):  # else they may still write
                for job in self._jobs:
                    if job.file >= 0:
                        os.close(job.file)
        if self._parts.failure:
            raise self._parts.failure

    def _guarded(self) -> None:
        try:
            self._work()
        except OSError as error:  # the connections' own errors are TransientError by now
            where = error.filename or self._jobs[0].path.parent
            reason = error.strerror or str(error)
            self._parts.fail(UserError(f"{where} can't be written: {reason}. Make room or give another folder."))
        except BaseException as error:
            self._parts.fail(error)

    def _work(self) -> None:
        window: Window = deque()
        idle: list[Connection] = []
        try:
            while not self._parts.failure:
                asked = sum(part.length for _, part in window)
                while len(window) < WINDOW and (not window or asked < WINDOW_BYTES):
                    part = self._parts.take(wait=not window)
                    if part is None:
                        break
                    if self._ask(part, window, idle):
                        asked += part.length
                if window:
                    self._answer(window, idle)
                elif not self._parts.left:
                    return
        finally:
            for connection in [*idle, *(connection for connection, _ in window)]:
                connection.close()

    def _ask(self, part: Part, window: Window, idle: list[Connection]) -> bool:
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

    def _answer(self, window: Window, idle: list[Connection]) -> None:
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
            self._parts.done()

    def _receive(self, connection: Connection, head: Head, part: Part) -> bool:
        """Take a body; whether this part is done with."""
        if head.length is not None and head.length != part.length:
            raise TransientError(f"{head.length} bytes came instead of {part.length}")
        if head.status == 200 and not part.whole:
            raise TransientError("the server sent the whole object instead of a range")
        if _is_small(part):
            return self._receive_small(connection, head, part)
        file, checksum, at, end = self._file(part.job), 0, part.start, part.start + part.length
        try:
            for block in connection.body(head):
                if self._parts.failure:
                    raise TransientError("another object failed")
                if at + len(block) > end:  # it would overwrite the next range
                    raise TransientError(f"more than {part.length} bytes came")
                _write(file, block, at)
                checksum = google_crc32c.extend(checksum, block)
                at += len(block)
                self._advance(len(block))
            if at < end:
                raise TransientError(f"{at - part.start} bytes came instead of {part.length}")
        except TransientError:
            self._advance(part.start - at)
            raise
        return not self._parts.came(part, checksum) or self._complete(part.job)

    def _receive_small(self, connection: Connection, head: Head, part: Part) -> bool:
        job = part.job
        data = b"".join(connection.body(head))
        if len(data) != job.entry.size:
            raise TransientError(f"{len(data)} bytes came instead of {job.entry.size}")
        if encode(google_crc32c.value(data)) != job.entry.crc32c:
            self._corrupt(job)
            self._parts.again(part)
            return False
        file = os.open(job.scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            _write(file, data, 0)
        finally:
            os.close(file)
        os.replace(job.scratch, job.path)
        self._advance(len(data))
        return True

    def _file(self, job: Job) -> int:
        """The file that the ranges of a large object are written to, opened by the first of them."""
        with self._files_lock:
            if job.file < 0:
                job.file = os.open(job.scratch, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            return job.file

    def _complete(self, job: Job) -> bool:
        """All ranges have come: compare, and make the file visible; or start over."""
        value = 0
        for (_, length), checksum in zip(spans(job.entry.size), job.checksums, strict=True):
            value = combine(value, checksum, length)
        if encode(value) == job.entry.crc32c:
            os.close(job.file)
            job.file = -1
            os.replace(job.scratch, job.path)
            return True
        self._corrupt(job)
        self._advance(-job.entry.size)
        self._parts.restart(job)
        return True

    def _corrupt(self, job: Job) -> None:
        job.corrupt += 1
        if job.corrupt >= CORRUPT_TRIES:
            raise UserError(
                f"{self._where(job)} came with wrong bytes {job.corrupt} times: they don't match the crc32c "
                f"{job.entry.crc32c} of its listing. Look for a proxy that changes content, and try again."
            )

    def _refused(self, part: Part, head: Head, body: bytes) -> None:
        text = body.decode(errors="replace")
        if head.status == 401 and self._signer.renew(part.tries):
            raise TransientError("the access token had run out")
        if head.status in _TRANSIENT:
            self._again(part, f"the server answered {head.status}", _seconds(head.headers.get("retry-after", "")))
            return
        if head.status == 404 and "bucket does not exist" not in text.lower():
            raise GoneError(
                f"{self._where(part.job)} was replaced or deleted since it was listed.", self._where(part.job)
            )
        raise explain_status(head.status, text, self._where(part.job), self._access)

    def _again(self, part: Part, reason: str, at_least: float = 0.0) -> None:
        part.tries += 1
        if part.tries >= TRIES:
            raise UserError(
                f"{self._where(part.job)} can't be fetched: {reason}, and so {part.tries} times. Try again later."
            )
        self._parts.again(part, at_least)

    def _advance(self, count: int) -> None:
        with self._progress_lock:
            self._progress(count)

    def _where(self, job: Job) -> str:
        return f"gs://{self._bucket}/{self._prefix}{job.entry.name}"


def _write(file: int, data: bytes, at: int) -> None:
    """Write all of `data`; a nearly full disk takes less than it is given without an error."""
    while data:
        count = os.pwrite(file, data, at)
        data, at = data[count:], at + count


def _is_small(part: Part) -> bool:
    """Whether it is an object that is held in memory and written at once."""
    return part.whole and part.length <= WINDOW_BYTES


def _range_header(part: Part) -> str:
    if part.whole:
        return ""
    return f"Range: bytes={part.start}-{part.start + part.length - 1}\r\n"


def _seconds(text: str) -> float:
    return min(float(text), LONGEST_DELAY) if text.isdigit() else 0.0
