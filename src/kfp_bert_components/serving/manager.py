"""Keeps the newest version of a model loaded: a new one is loaded in the background and then takes over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_bert_components.errors import UserError
from kfp_bert_components.serving.versions import ModelVersion, newest_version

if TYPE_CHECKING:
    from kfp_bert_components.serving.model import Model


class ModelManager:
    """The model that answers now, and a thread that looks for newer versions.

    Args:
        path: A model bundle, a SavedModel folder, or a folder of versions.
        poll_seconds: Seconds between two looks at the folder.
        report: Called with one line of text at each change.
        compiled: Whether to compile a model for single short texts once it answers; see `serving.compiled`.

    Attributes:
        model: The model that answers, or None while the first one loads.
        problem: Why the newest version could not be loaded; "" where it could.

    Raises:
        NotFoundError: There is nothing at `path`.
        UserError: What lies at `path` is no model.
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
        self._broken: ModelVersion | None = None
        self.model: Model | None = None
        self.problem = ""
        newest_version(path)  # a path that can never become a model fails here, before anything listens

    def start(self) -> None:
        """Begin to load and watch."""
        self._thread = threading.Thread(target=self._watch, name="model-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. It waits at most 5 seconds: a version that is being loaded is loaded to the end."""
        self._stop.set()
        if self._thread:
            self._thread.join(timeout=5)

    def refresh(self) -> None:
        """Load the newest version, unless it is the one that answers or could not be loaded before.

        It raises nothing: what is wrong is in `problem`.
        """
        try:
            version = newest_version(self._path)
        except (UserError, OSError) as error:  # the folder went away: go on with what is loaded
            self._report_problem(str(error))
            return
        if version is None or version == self._broken:
            return
        if self.model and self.model.version == version:
            self._broken, self.problem = None, ""
            return
        from kfp_bert_components.serving.model import Model

        try:
            self.model = Model(version)
        except Exception as error:  # whatever is wrong with a new version, the old one goes on answering
            self._broken = version
            self._report_problem(f"version {version.number} cannot be served: {error}")
            return
        self._broken, self.problem = None, ""
        known = f", version {version.registry_version} of its registry," if version.registry_version else ""
        self._report(f"serving version {version.number}{known} from {version.folder}")
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

    def _report_problem(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            self._report(problem)
