"""Keeps the newest version of a model loaded: loads in the background, swaps when it is ready."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_bert_components.errors import UserError
from kfp_bert_components.serving.source import Found, newest

if TYPE_CHECKING:
    from kfp_bert_components.serving.model import Model


class Holder:
    """The model that answers now, and a thread that looks for a newer one.

    Args:
        path: A model bundle, a SavedModel folder, or a folder of versions.
        poll_seconds: Seconds between two looks at the folder.
        report: Called with one line of text at each change.
        compiled: Whether to compile a model for single short texts, once it answers.

    Attributes:
        model: The model that answers, or None while the first one loads.
        problem: Why the newest version could not be loaded, or "".
    """

    def __init__(
        self,
        path: Path,
        poll_seconds: float = 2.0,
        report: Callable[[str], None] | None = None,
        *,
        compiled: bool = False,
    ) -> None:
        self._path, self._poll_seconds = path, poll_seconds
        self._report = report or partial(print, flush=True)
        self._compiled = compiled
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._broken: Found | None = None
        self.model: Model | None = None
        self.problem = ""
        newest(path)  # a path that can never become a model fails here, before anything listens

    def start(self) -> None:
        """Begin to load and watch."""
        self._thread = threading.Thread(target=self._watch, name="model-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watching; a load that is under way is left to the end of the process."""
        self._stop.set()
        if self._thread:
            self._thread.join(timeout=5)

    def refresh(self) -> None:
        """Load the newest version unless it is the one that answers, or was found broken before."""
        try:
            found = newest(self._path)
        except UserError as error:  # the folder went away: go on with what is loaded
            self._tell(str(error))
            return
        if found is None or found == self._broken or (self.model and self.model.found == found):
            return
        from kfp_bert_components.serving.model import Model

        try:
            self.model = Model(found)
        except Exception as error:  # whatever is wrong with a new version, the old one goes on answering
            self._broken = found
            self._tell(f"version {found.version} cannot be served: {error}")
            return
        self._broken, self.problem = None, ""
        self._report(f"serving version {found.version} from {found.folder}")
        if self._compiled:
            self._compile(self.model)

    def _compile(self, model: Model) -> None:
        start, lengths = time.monotonic(), []
        try:
            for length in model.compile():
                lengths.append(length)
                if self._stop.is_set():
                    return
        except Exception as error:  # the model answers without compiled code
            self._report(f"single texts are not compiled: {error}")
        if lengths:
            seconds = time.monotonic() - start
            self._report(f"compiled for single texts of up to {max(lengths)} tokens in {seconds:.0f} s")

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.refresh()
            self._stop.wait(self._poll_seconds)

    def _tell(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            self._report(problem)
