"""One run of a compiled pipeline in a process group of its own, told as events."""

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

from kfp_bert_components.local.events import Event, read_events

_SECONDS_TO_STOP = 15
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}


class Run:
    """A run in progress: iterate over it for its events, then look at `ok`."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self.log = log

    def __iter__(self) -> Iterator[Event]:
        assert self._process.stdout is not None
        with self.log.open("w") as log:

            def tee() -> Iterator[str]:
                for line in self._process.stdout or ():
                    log.write(line)
                    yield line

            yield from read_events(tee())

    @property
    def process_group(self) -> int:
        """The process group of the run: kfp.local and its steps."""
        return self._process.pid

    @property
    def ok(self) -> bool:
        """Whether the run ended well; waits for its end."""
        return self._process.wait() == 0


@contextmanager
def execute(spec: Path, arguments: dict[str, Any], root: Path) -> Iterator[Run]:
    """Run the compiled pipeline in `spec` with kfp.local; leave nothing running when the block ends.

    Args:
        spec: YAML file of a compiled pipeline.
        arguments: Values by parameter name.
        root: Folder for the artifacts of the run (made if missing), and for its log.
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
            yield Run(process, root / "log.txt")
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    """End the whole group: kfp.local's process and the step that it runs."""
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
