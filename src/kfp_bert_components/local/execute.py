"""A local run of a compiled pipeline in a process group of its own, as a stream of events."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from kfp_bert_components.errors import UserError
from kfp_bert_components.local.checks import check_pipeline
from kfp_bert_components.local.events import (
    BranchSkipped,
    RunEvent,
    RunFailed,
    StepEnded,
    StepNotReused,
    StepPrinted,
    StepReused,
    StepStarted,
    read_events,
)
from kfp_bert_components.plain import printed

_SECONDS_TO_STOP = 15
_WITH_FRAMES = {"KFP_BERT_TRACEBACK": "1"}  # by which `local.failure` finds the error that a step ended with
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}


class LocalRun:
    """A run in progress. Iterate over it once for its events, then read `ok`.

    Attributes:
        folder: The run's folder, with one folder for each step and its outputs.
        log: File in it with all that the run prints.
    """

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self.folder = folder
        self.log = folder / "log.txt"

    def __iter__(self) -> Iterator[RunEvent]:
        with self.log.open("w", encoding="utf-8", errors="backslashreplace") as log:
            for event in read_events(self._process.stdout or ()):
                if line := _log_line(event):
                    log.write(printed(line) + "\n")
                    log.flush()
                yield event

    @property
    def process_group(self) -> int:
        """Id of the process group that kfp.local and its steps run in."""
        return self._process.pid

    @property
    def ok(self) -> bool:
        """Whether the run succeeded. Waits until it has ended."""
        return self._process.wait() == 0


@contextmanager
def execute(spec: Path, arguments: dict[str, Any], root: Path, *, cache: bool = True) -> Iterator[LocalRun]:
    """Run a compiled pipeline with kfp.local. When the block ends, all processes of the run are ended.

    Args:
        spec: YAML file of the compiled pipeline.
        arguments: Values by parameter name.
        root: Folder for the folder of the run; created if it does not exist.
        cache: Whether finished steps of earlier runs in `root` are used again where nothing changed.

    Yields:
        The run, which has just started.

    Raises:
        UserError: The pipeline cannot run on this machine, a step would refuse its settings, or `root` cannot be
            written.
    """
    pipeline = next(yaml.safe_load_all(spec.read_text()))
    check_pipeline(pipeline, arguments)
    folder = _new_folder(root.absolute(), pipeline["pipelineInfo"]["name"])
    with tempfile.TemporaryDirectory() as scratch:
        spec = Path(shutil.copy(spec, scratch))
        arguments_path = Path(scratch) / "arguments.json"
        arguments_path.write_text(json.dumps(arguments))
        worker = ["-u", "-m", "kfp_bert_components.local.worker", str(spec), str(arguments_path), str(folder)]
        worker += ["cache"] if cache else []
        process = subprocess.Popen(
            [sys.executable, *worker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**_QUIET, **os.environ, "PYTHONUNBUFFERED": "1", **_WITH_FRAMES},
            start_new_session=True,
        )
        try:
            yield LocalRun(process, folder)
        finally:
            _stop(process)


def _new_folder(root: Path, pipeline: str) -> Path:
    folder = root / f"{pipeline}-{datetime.now():%Y-%m-%d-%H-%M-%S-%f}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(
            f"The folder {root} cannot hold the outputs of a run: {error.strerror or error}. Give one that you may "
            "write to, with --root of `kfp-bert run` or --folder of `kfp-bert quickstart`."
        ) from None
    return folder


def _log_line(event: RunEvent) -> str:
    match event:
        case StepPrinted():
            return f"{event.step} | {event.line}"
        case StepStarted():
            return f"{event.step} started"
        case StepEnded():
            return f"{event.step} {'ended' if event.ok else 'failed'}"
        case StepReused():
            return f"{event.step} used again: {event.folder}"
        case StepNotReused():
            return f"{event.step} not used again: {event.reason} since: {event.folder}"
        case BranchSkipped():
            return f"{event.branch} skipped: {event.reason}"
        case RunFailed():
            return event.reason
    return event.line


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
