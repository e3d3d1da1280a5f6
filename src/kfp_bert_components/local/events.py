"""The events of a local run, read from kfp.local's log: a step starts, prints a line, ends."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_RECORD = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} - (?:INFO|WARNING|ERROR) - (.*)")
_START = re.compile(r"Executing task '(.+)'")
_END = re.compile(r"Task '(.+)' finished with status (SUCCESS|FAILURE)")
_EXECUTOR = re.compile(r"^ *\[KFP Executor ")
# TensorFlow logs these before it reads its log level; the last one on every machine without a GPU.
_TENSORFLOW = re.compile(r"^ *(WARNING: All log messages before absl|[IW]0000 00:00:|E0000 00:00:.*cuInit)")


@dataclass(frozen=True)
class StepStarted:
    """A step has started."""

    step: str


@dataclass(frozen=True)
class StepPrinted:
    """A step has printed a line."""

    step: str
    line: str


@dataclass(frozen=True)
class StepEnded:
    """A step has ended; `ok` says whether it succeeded."""

    step: str
    ok: bool


StepEvent = StepStarted | StepPrinted | StepEnded


def read_events(lines: Iterable[str]) -> Iterator[StepEvent]:
    """The events in the lines of kfp.local's output, in order. Only one step runs at a time."""
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
    """The lines without what KFP's executor logs about itself, such as its input as JSON, and without TensorFlow's."""
    in_json = False
    for line in lines:
        if _EXECUTOR.match(line):
            in_json = line.endswith("executor_input:")
        elif in_json:
            in_json = line.strip() != "}" or line.startswith("     ")
        elif not _TENSORFLOW.match(line):
            yield line
