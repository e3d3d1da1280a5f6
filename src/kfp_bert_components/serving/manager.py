"""Keeps the newest version of a model loaded: a new one is loaded in the background and then takes over."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kfp_bert_components.progress import log_line
from kfp_bert_components.serving.engines import Engine, Threads, load_engine
from kfp_bert_components.serving.sources import open_source
from kfp_bert_components.serving.versions import Found, ModelVersion

BUCKET_SECONDS = 10.0  # between two looks at a bucket, which cost money
MOST_SECONDS = 300.0  # between two tries of a version that could not be loaded


@dataclass(frozen=True)
class Refusal:
    """A version that is there and is not served.

    Attributes:
        number: Its number.
        reason: Why it could not be loaded.
        tries: How often that was tried with these files.
        stamp: What was in it, see `ModelVersion`; "" where it could not be read.
        again: When it is tried again, in seconds of `time.monotonic`. Where its files change that is at once.
    """

    number: int
    reason: str
    tries: int
    stamp: str
    again: float


class ModelManager:
    """The model that answers now, and a thread that looks for newer versions.

    Args:
        path: A model bundle, a SavedModel folder, a folder of versions, or a registry, here or in a bucket.
        poll_seconds: Seconds between two looks at the folder (10 or more where it is in a bucket), and before the
            second try of a version that could not be loaded; before each further one it is twice as long, up to 5
            minutes.
        report: Called with one line of text at each change.
        compiled: Whether a model of TensorFlow is compiled for single short texts once it answers; see
            `serving.compiled`.
        threads: How many threads a model uses; by default those of the machine.

    Attributes:
        model: The model that answers, or None while the first one loads.
        refused: The versions that are there and could not be loaded, by number.
        swaps: How often a model has taken over.
        looked: Whether it has tried every version of its first look.

    Raises:
        NotFoundError: There is nothing at `path`.
        UserError: What lies at `path` is no model.
    """

    def __init__(
        self,
        path: str | Path,
        poll_seconds: float = 2.0,
        report: Callable[[str], None] | None = None,
        *,
        compiled: bool = False,
        threads: Threads | None = None,
    ) -> None:
        self._path, self._find = path, open_source(path)
        in_bucket = str(path).startswith(("gs:", "s3:", "minio:"))
        self._poll_seconds = max(poll_seconds, BUCKET_SECONDS) if in_bucket else poll_seconds
        self._report = report or log_line
        self._compiled, self._threads = compiled, threads or Threads.of_machine()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._compiler: threading.Thread | None = None
        self._old: list[weakref.ref[Engine]] = []
        self._trouble = ""  # with the folder as a whole
        self.model: Engine | None = None
        self.refused: dict[int, Refusal] = {}
        self.swaps, self.looked = 0, False
        self._find()  # a path that can never become a model fails here, before anything listens

    @property
    def problem(self) -> str:
        """Why the newest version is not served; "" where it is."""
        if self._trouble or not self.refused:
            return self._trouble
        refusal = self.refused[max(self.refused)]
        return f"version {refusal.number} cannot be served: {refusal.reason}"

    def start(self) -> None:
        """Begin to load and watch."""
        self._thread = threading.Thread(target=self._watch, name="model-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> bool:
        """End its threads. A version that is being loaded is loaded to the end.

        Returns:
            Whether each has ended within 5 seconds.
        """
        self._stop.set()
        end = time.monotonic() + 5

        def ends(thread: threading.Thread | None) -> bool:
            if thread:
                thread.join(max(0, end - time.monotonic()))
            return not (thread and thread.is_alive())

        # In this order: the first may have started the second until its end.
        return ends(self._thread) and ends(self._compiler)

    def refresh(self) -> None:
        """Load the newest version that can be loaded, unless it is the one that answers.

        It raises nothing: what is wrong is in `problem` and `refused`.
        """
        before = self.problem
        try:
            found = self._find()
        except Exception as error:  # whatever is wrong with the folder: go on with what is loaded
            self._trouble = str(error) or repr(error)
        else:
            missing = f"{self._path} has no complete version"
            goes_on = f"{missing} any more: what is loaded goes on." if self.model else f"Still loading: {missing} yet."
            self._trouble = "" if found else goes_on
            looked_at = []
            for one in found:
                looked_at.append(one.number)
                if self._serve(one):
                    break
            # What is older than the version that answers does not matter.
            self.refused = {number: one for number, one in self.refused.items() if number in looked_at}
        if self.problem and self.problem != before:
            self._report(self.problem)
        self._free()
        self.looked = True

    def _serve(self, found: Found) -> bool:
        """Whether this version answers now, or the model that answers is to go on instead of an older one."""
        current = self.model.version if self.model else None
        is_current = current is not None and current.number == found.number
        stamp, version = found.stamp, None
        try:
            if not stamp:
                version = found.read()
                stamp = version.stamp
            if current and is_current and current.stamp == stamp:
                self.refused.pop(found.number, None)
                return True
            known = self.refused.get(found.number)
            if known and known.stamp == stamp and time.monotonic() < known.again:
                return is_current
            self._load(version or found.read())  # in a bucket it is downloaded only now
        except Exception as error:  # whatever is wrong with a version, the one that answers goes on
            self._refuse(found.number, stamp, str(error) or repr(error))
            return is_current
        return True

    def _refuse(self, number: int, stamp: str, reason: str) -> None:
        known = self.refused.get(number)
        tries = known.tries + 1 if known and known.stamp == stamp else 1
        seconds = min(self._poll_seconds * 2 ** min(tries - 1, 20), MOST_SECONDS)
        self.refused = {**self.refused, number: Refusal(number, reason, tries, stamp, time.monotonic() + seconds)}

    def _load(self, version: ModelVersion) -> None:
        engine = load_engine(version, self._threads)
        if self.model:
            self._old.append(weakref.ref(self.model))
        self.model = engine
        self.swaps += 1
        self.refused.pop(version.number, None)
        known = f", version {version.registry_version} of its registry," if version.registry_version else ""
        self._report(f"serving version {version.number}{known} from {version.onnx or version.folder}")
        if self._compiled and not self._stop.is_set():
            # Beside the watching, which must not wait for it.
            self._compiler = threading.Thread(target=self._compile, args=(engine,), name="model-compiler", daemon=True)
            self._compiler.start()

    def _compile(self, model: Engine) -> None:
        start, lengths = time.monotonic(), []
        try:
            for length in getattr(model, "compile", lambda: ())():
                lengths.append(length)
                if self._stop.is_set() or self.model is not model:
                    return
        except Exception as error:  # the model answers without compiled code
            self._report(f"single texts are not compiled: {error}")
        if lengths:
            seconds = time.monotonic() - start
            self._report(f"compiled for single texts of up to {max(lengths)} tokens in {seconds:.0f} s")

    def _free(self) -> None:
        """Give memory back that the models held whose last request has ended."""
        ended = [old for old in self._old if old() is None]
        if not ended:
            return
        self._old = [old for old in self._old if old not in ended]
        gc.collect()  # TensorFlow's objects hold each other
        with suppress(OSError, AttributeError):  # only glibc has it, and only glibc needs it
            ctypes.CDLL(None).malloc_trim(0)

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.refresh()
            self._stop.wait(self._poll_seconds)
