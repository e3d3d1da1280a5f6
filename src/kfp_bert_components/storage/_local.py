"""A store in a local folder: atomic files, generations that only grow, a lock between processes.

A file's generation is its modification time in microseconds, set by us while we hold the store's lock, and
never twice the same: `.store/lock` holds the last one given out. Files are written under `.store/new`,
flushed to disk and renamed, so a reader sees a whole file or none. What a killed writer leaves lies in
`.store/new`, where nobody looks, and is swept away a day later.

The lock ends with the process that holds it. A process that is stopped keeps it, so `.store/holder` says who it is,
and those who wait say so and give up after a while.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.progress import say
from kfp_bert_components.sight import Sight
from kfp_bert_components.storage._checksums import encode, extend, file_crc32c, open_file
from kfp_bert_components.storage._rights import denied
from kfp_bert_components.storage._types import Blob, Entries, Entry, Generation, Names, Store, check_name, too_large
from kfp_bert_components.storage._walk import OWN, check_regular, unreadable
from kfp_bert_components.storage.mounts import refuse_unsafe_mount

_STALE_SECONDS = 86_400
_COPIERS = 4
LOCK_SECONDS = 30.0  # shorter than the lease of a rollout
_SAID = 6  # times that waiting is said while one process keeps it
_POLL_SECONDS = (0.001, 0.05)


class LocalStore(Store):
    """Objects as files below a folder."""

    def __init__(self, root: Path, patience: float = LOCK_SECONDS) -> None:
        """A store below `root`. Its lock may be kept by another process for up to `patience` seconds."""
        self.root = root.absolute()
        self.uri = str(self.root)
        self._patience = patience
        self._turn = threading.Lock()  # of the threads of this process one at a time waits for the file's lock

    def read(self, name: str, *, limit: int | None = None) -> Blob:
        try:
            with open_file(self._path(name)) as file:
                data = file.read(-1 if limit is None else limit + 1)
                if limit is not None and len(data) > limit:
                    raise too_large(self.describe(name), limit)
                return Blob(data, _generation(os.fstat(file.fileno())))
        except OSError as error:
            raise self._explained(error, name) from None

    def stat(self, name: str) -> Entry:
        path = self._path(name)
        try:
            if path.is_dir():
                raise FileNotFoundError
            return file_entry(path, name)
        except OSError as error:
            raise self._explained(error, name) from None

    def write(self, name: str, data: bytes, *, if_generation: Generation | None = None) -> int:
        return self._put(name, lambda file: file.write(data), if_generation)

    def upload(
        self, path: Path, name: str, *, if_generation: Generation | None = None, check: Callable[[], object] = bool
    ) -> int:
        check()

        def copy(file: BinaryIO) -> None:
            with path.open("rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)

        return self._put(name, copy, if_generation)

    def download_all(
        self, wanted: Sequence[tuple[Entry, Path]], scratch: Path, progress: Callable[[int], object] = bool
    ) -> None:
        lock = threading.Lock()

        def one(number: int) -> None:
            entry, path = wanted[number]
            part = scratch / f"{os.getpid()}-{number}"
            try:
                size = self._copy_checked(entry, part)
                os.replace(part, path)
            except OSError as error:
                raise self._explained(error, entry.name) from None
            with lock:
                progress(size)

        with ThreadPoolExecutor(_COPIERS) as pool:
            for _ in pool.map(one, range(len(wanted))):
                pass

    def _copy_checked(self, entry: Entry, part: Path) -> int:
        value, size = 0, 0
        with open_file(self._path(entry.name)) as source, part.open("wb") as target:
            while block := source.read(1 << 20):
                target.write(block)
                value, size = extend(value, block), size + len(block)
        if (size, encode(value)) != (entry.size, entry.crc32c):
            raise ConflictError(f"{self.describe(entry.name)} does not hold the bytes it had when it was listed.")
        return size

    def list(self, prefix: str = "", *, checksums: bool = True) -> Entries:
        start = self.root / prefix.rpartition("/")[0]
        found = []

        def refuse(error: OSError, path: Path | None = None) -> None:
            if not isinstance(error, (FileNotFoundError, NotADirectoryError)):  # it is deleted since it was listed
                raise unreadable(path or Path(error.filename), error) from None

        for folder, folders, files in os.walk(start, onerror=refuse):
            if Path(folder) == self.root:
                folders[:] = [one for one in folders if one != OWN]
            for file in files:
                path = Path(folder, file)
                name = path.relative_to(self.root).as_posix()
                if name.startswith(prefix):
                    try:
                        found.append(file_entry(path, name, checksum=checksums))
                    except OSError as error:
                        refuse(error, path)
        return sorted(found, key=lambda entry: entry.name)

    def folders(self, prefix: str = "") -> Names:
        try:
            with os.scandir(self.root / prefix) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir() and entry.name != OWN)
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            raise _no_folder(self.root / prefix) from None
        except OSError as error:
            raise self._explained(error, prefix) from None

    def delete(self, name: str, *, if_generation: Generation | None = None) -> None:
        path = self._path(name)
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise FileNotFoundError
            with self._locked():
                self._check_generation(path, name, if_generation)
                path.unlink()
                with contextlib.suppress(OSError):  # folders that are not empty stay
                    for parent in path.parents:
                        if parent == self.root:
                            break
                        parent.rmdir()
        except OSError as error:
            raise self._explained(error, name) from None

    def _put(self, name: str, fill: Callable[[BinaryIO], object], if_generation: Generation | None) -> int:
        path = self._path(name)
        try:
            new = self._new_folder()
            temporary = new / uuid.uuid4().hex
            with open(temporary, "xb") as file:
                _sweep(new, now=os.fstat(file.fileno()).st_mtime)
                try:
                    fill(file)
                    file.flush()
                    os.fsync(file.fileno())
                    return self._publish(temporary, path, name, if_generation)
                finally:
                    temporary.unlink(missing_ok=True)
        except NotADirectoryError:
            raise _no_folder(path.parent) from None
        except OSError as error:
            raise self._explained(error, name) from None

    def _publish(self, temporary: Path, path: Path, name: str, if_generation: Generation | None) -> int:
        with self._locked() as lock:
            current = self._check_generation(path, name, if_generation)
            known = lock.read()
            last = int(known) if known.isdigit() else 0  # a file system can leave anything there when the power fails
            generation = max(time.time_ns() // 1000, last + 1, current + 1)
            os.utime(temporary, ns=(generation * 1000, generation * 1000))
            if _generation(temporary.stat()) != generation:
                raise UserError(
                    f"The file system of {self.root} keeps no modification times to the microsecond, "
                    "which a registry needs: use a local disk, NFS, gs:// or s3://."
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.seek(0)
            lock.write(b"%d" % generation)
            lock.flush()
            os.replace(temporary, path)
            _sync_folder(path.parent)
        return generation

    def _check_generation(self, path: Path, name: str, expected: Generation | None) -> int:
        """The generation of a file now, 0 if there is none; ConflictError if it is not the expected one."""
        try:
            current = _generation(path.stat())
        except FileNotFoundError:
            current = 0
        if expected is not None and current != expected:
            raise ConflictError(
                f"{self.describe(name)} was changed by somebody else: expected generation {expected}, found {current}."
            )
        return current

    @contextlib.contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """The lock of the store, as its file; UserError if another process does not give it back."""
        self._new_folder()
        sight = Sight()
        self._wait(lambda pause: self._turn.acquire(timeout=pause), sight)
        try:
            descriptor = os.open(_own_file(self.root / OWN / "lock"), os.O_RDWR | os.O_CREAT, 0o666)
            with os.fdopen(descriptor, "r+b") as file:
                self._wait(partial(_take, file), sight)
                _own_file(self._holder).write_text(_taker(), encoding="utf-8")
                yield file
        finally:
            self._turn.release()

    def _wait(self, taken: Callable[[float], bool], sight: Sight) -> None:
        """Wait for a lock, which `taken` tries to take for so many seconds; UserError if it is kept too long.

        Many may wait for it, so it does not count how long it takes until it is one's turn.
        """
        pause, say_at = _POLL_SECONDS[0], time.monotonic() + self._patience / _SAID
        while not taken(pause):
            kept = sight.unchanged(self._turn_of_others())
            if kept > self._patience:
                raise self._held()
            if time.monotonic() > say_at:
                say_at += self._patience / _SAID
                say(f"Waiting for the lock of {self.root}: {self._held_by()} has it.")
            pause = min(2 * pause, _POLL_SECONDS[1])

    def _turn_of_others(self) -> int:
        """A number that is another one after each taking of the lock; 0 where it was never taken."""
        try:
            return self._holder.stat().st_mtime_ns
        except OSError:
            return 0

    def _held(self) -> UserError:
        return UserError(
            f"The lock of {self.root} was not given back for {self._patience:g} s: {self._held_by()} has it. Let that "
            "process go on or end it (kill -CONT, kill), and run this again."
        )

    def _held_by(self) -> str:
        try:
            with open_file(self._holder) as file:
                return file.read().decode() or "another process"
        except (OSError, UnicodeDecodeError):
            return "another process"

    @property
    def _holder(self) -> Path:
        return self.root / OWN / "holder"

    def _new_folder(self) -> Path:
        folder = self.root / OWN / "new"
        if not folder.is_dir():
            refuse_unsafe_mount(self.root)
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _path(self, name: str) -> Path:
        check_name(name)
        if name.split("/")[0] == OWN:
            raise UserError(f"{name!r} is reserved for the store itself: choose another name.")
        return self.root / name

    def _explained(self, error: OSError, name: str) -> UserError:
        where = self.describe(name)
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return NotFoundError(f"{where} does not exist.")
        if isinstance(error, PermissionError):
            return UserError(f"{where} can't be reached: {denied(Path(error.filename or where))}.")
        if isinstance(error, IsADirectoryError):
            return UserError(f"{where} is a folder, not a file.")
        return UserError(f"{where} can't be read or written: {error.strerror or error}.")


def _own_file(path: Path) -> Path:
    """Return the path of a file of the store's own; UserError where something else is there, such as a pipe.

    To open a pipe is to wait for somebody at its other end.
    """
    try:
        return check_regular(path, path.stat())
    except FileNotFoundError:  # it is made when it is opened
        return path
    except OSError as error:
        raise unreadable(path, error) from None


def _no_folder(path: Path) -> UserError:
    return UserError(f"{path} is no folder: it is a file, or lies under one. Check the address.")


def file_entry(path: Path, name: str, *, checksum: bool = True) -> Entry:
    """The entry of a file under this name; OSError where it can't be read. The checksum costs a read of the file."""
    # The checksum first: if the file is replaced in between, the generation is at least as new.
    crc32c = file_crc32c(path) if checksum else ""
    status = path.stat()
    return Entry(name, status.st_size, crc32c, _generation(status), status.st_mtime)


def _take(file: BinaryIO, pause: float) -> bool:
    """Take the lock, or wait so many seconds."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(pause)
        return False
    return True


def _taker() -> str:
    """Who takes a lock now, in words."""
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return f"process {os.getpid()} on {socket.gethostname()} (since {at})"


def _generation(status: os.stat_result) -> int:
    return status.st_mtime_ns // 1000


def _sync_folder(folder: Path) -> None:
    """Make a rename outlive a power cut; not every file system can, and then there is nothing to do."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sweep(folder: Path, now: float) -> None:
    """Remove what killed writers left more than a day before `now`, by the clock that dates files in the folder."""
    oldest = now - _STALE_SECONDS
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.stat().st_mtime < oldest:
                    os.unlink(entry.path)
