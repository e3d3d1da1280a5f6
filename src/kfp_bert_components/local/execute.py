"""A local run of a compiled pipeline in a process group of its own, as a stream of events."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kfp_bert_components.local.events import StepEvent, read_events

_SECONDS_TO_STOP = 15
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}


class LocalRun:
    """A run in progress. Iterate over it once for its events, then read `ok`.

    Attributes:
        log: File with all that the run printed.
    """

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self.log = log

    def __iter__(self) -> Iterator[StepEvent]:
        assert self._process.stdout is not None
        with self.log.open("w") as log:

            def tee() -> Iterator[str]:
                for line in self._process.stdout or ():
                    log.write(line)
                    yield line

            yield from read_events(tee())

    @property
    def process_group(self) -> int:
        """Id of the process group that kfp.local and its steps run in."""
        return self._process.pid

    @property
    def ok(self) -> bool:
        """Whether the run succeeded. Waits until it has ended."""
        return self._process.wait() == 0


@contextmanager
def execute(spec: Path, arguments: dict[str, Any], root: Path) -> Iterator[LocalRun]:
    """Run a compiled pipeline with kfp.local. When the block ends, all processes of the run are ended.

    Args:
        spec: YAML file of the compiled pipeline.
        arguments: Values by parameter name.
        root: Folder for the run's artifacts and its log; created if it does not exist.

    Yields:
        The run, which has just started.
    """
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        arguments_path = Path(scratch) / "arguments.json"
        arguments_path.write_text(json.dumps(arguments))
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "kfp_bert_components.local.worker", str(spec), str(arguments_path), str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**_QUIET, **os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        try:
            yield LocalRun(process, root / "log.txt")
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    """End the process group: SIGTERM, and SIGKILL if it has not ended 15 s later."""
    for sign, seconds in ((signal.SIGTERM, _SECONDS_TO_STOP), (signal.SIGKILL, None)):
        if process.poll() is not None:
            break
        os.killpg(process.pid, sign)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
