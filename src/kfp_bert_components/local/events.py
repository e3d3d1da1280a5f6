"""The events of a local run: a step starts, prints a line, ends. They pass from one process to another as text."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

# Begins a line that is an event, as in a JSON text sequence (RFC 7464).
_MARK = "\x1e"


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
    """A step has ended; `ok` says whether it succeeded, and `how` how the process of one that failed ended."""

    step: str
    ok: bool
    how: str = ""


@dataclass(frozen=True)
class StepReused:
    """A step does not run: nothing changed that it depends on since `run`, which made it in `folder`."""

    step: str
    folder: str
    run: str


@dataclass(frozen=True)
class StepNotReused:
    """A step runs again, because what `run` has made of it in `folder` is not as it was."""

    step: str
    folder: str
    run: str
    reason: str


@dataclass(frozen=True)
class BranchSkipped:
    """The steps of an If, Elif or Else do not run, because its condition does not hold."""

    branch: str
    reason: str


@dataclass(frozen=True)
class RunFailed:
    """The run has ended early, for another reason than a step's failure or beside it."""

    reason: str


@dataclass(frozen=True)
class Logged:
    """kfp.local has logged a line."""

    line: str


_KINDS = (StepStarted, StepPrinted, StepEnded, StepReused, StepNotReused, BranchSkipped, RunFailed)
RunEvent = StepStarted | StepPrinted | StepEnded | StepReused | StepNotReused | BranchSkipped | RunFailed | Logged
_TYPES = {kind.__name__: kind for kind in _KINDS}


def write_event(event: RunEvent) -> str:
    """The event as one line that `read_events` reads."""
    return f"{_MARK}{json.dumps([type(event).__name__, asdict(event)])}\n"


def read_events(lines: Iterable[str]) -> Iterator[RunEvent]:
    """The events in the lines that a run's process writes; a line that is no event becomes `Logged`."""
    for line in lines:
        # Another thread may have begun a line before the event.
        before, mark, text = line.rstrip("\n").partition(_MARK)
        if before.strip() or not mark:
            yield Logged(before)
        if mark:
            yield _event(text)


def _event(text: str) -> RunEvent:
    try:
        kind, fields = json.loads(text)
        return _TYPES[kind](**fields)
    except (ValueError, TypeError, KeyError):
        return Logged(text)
