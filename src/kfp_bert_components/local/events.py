"""What kfp.local's log says: which step runs, what it prints, how it ends."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_RECORD = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} - (?:INFO|WARNING|ERROR) - (.*)")
_START = re.compile(r"Executing task '(.+)'")
_END = re.compile(r"Task '(.+)' finished with status (SUCCESS|FAILURE)")
_EXECUTOR = re.compile(r"^ *\[KFP Executor ")
# TensorFlow logs these to stderr before its log level is read; the last one on every machine without a GPU.
_TENSORFLOW = re.compile(r"^ *(WARNING: All log messages before absl|[IW]0000 00:00:|E0000 00:00:.*cuInit)")


@dataclass(frozen=True)
class StepStarted:
    """A step began."""

    step: str


@dataclass(frozen=True)
class StepPrinted:
    """A step printed a line."""

    step: str
    line: str


@dataclass(frozen=True)
class StepEnded:
    """A step ended, well or not."""

    step: str
    ok: bool


Event = StepStarted | StepPrinted | StepEnded


def read_events(lines: Iterable[str]) -> Iterator[Event]:
    """Turn the lines of kfp.local's output into events, one step after the other."""
    step = ""
    for line in _without_noise(_COLOR.sub("", raw).rstrip() for raw in lines):
        record = _RECORD.match(line)
        if record:
            if start := _START.match(record[1]):
                step = start[1]
                yield StepStarted(step)
            elif end := _END.match(record[1]):
                yield StepEnded(end[1], end[2] == "SUCCESS")
                step = ""
        elif step and line.strip():
            # kfp.local indents what a step prints by four spaces.
            yield StepPrinted(step, line.removeprefix("    "))


def _without_noise(lines: Iterable[str]) -> Iterator[str]:
    """Leave out what KFP's executor logs about itself, among it the whole of its input as JSON."""
    in_json = False
    for line in lines:
        if _EXECUTOR.match(line):
            in_json = line.endswith("executor_input:")
        elif in_json:
            in_json = line.strip() != "}" or line.startswith("     ")
        elif not _TENSORFLOW.match(line):
            yield line
