"""What a person sees of a local run: each step as it starts, what it prints, and how it ends."""

import re
import time
from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from kfp_bert_components.local.events import (
    BranchSkipped,
    RunEvent,
    RunFailed,
    StepEnded,
    StepNotReused,
    StepPrinted,
    StepReused,
    StepStarted,
)
from kfp_bert_components.local.failure import explain
from kfp_bert_components.progress_bar import is_progress
from kfp_bert_components.storage import ON_THIS_MACHINE

_EXECUTOR = re.compile(r"^ *\[KFP Executor ")
_EXECUTOR_FRAME = re.compile(r'^  File "(<frozen runpy>|.*\bkfp/dsl/executor(_main)?\.py)", line ')
# TensorFlow logs these before it reads its log level; the last one on every machine without a GPU.
_TENSORFLOW = re.compile(r"^ *(WARNING: All log messages before absl|[IW]0000 00:00:|E0000 00:00:.*cuInit)")


class Display:
    """Shows the events of a run on a console.

    On a terminal, a progress line replaces the one before; in a file or pipe, each is a line of its own. The passes of
    a loop run side by side: a line that one of them prints begins with the name of the step.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._running: dict[str, _Step] = {}
        self._failed: dict[str, str] = {}
        self._places: set[str] = set()
        self._reason = ""

    @property
    def failure(self) -> str:
        """The steps that failed, the first one first, with what went wrong; or why the run ended early; "" if unknown.

        Of the passes of loops, which mostly fail alike, only the first that failed is named.
        """
        loops = [step for step in self._failed if "/" in step]
        return "\n".join(text for step, text in self._failed.items() if step not in loops[1:]) or self._reason

    def follow(self, events: Iterable[RunEvent]) -> None:
        """Show events until there are no more."""
        try:
            for event in events:
                self._show(event)
                self._update()
        finally:
            self._stop()

    def _show(self, event: RunEvent) -> None:
        match event:
            case StepStarted():
                self._start(event.step)
            case StepPrinted():
                self._print(self._running[event.step], event.line)
            case StepEnded():
                self._end(self._running.pop(event.step), event)
            case StepReused():
                self._console.print(f"[bold]{event.step}[/]  unchanged: used again from the run {escape(event.run)}")
            case StepNotReused():
                why = f"{event.reason} since the run {event.run}"
                self._console.print(f"[bold]{event.step}[/]  not used again: {escape(why)}")
            case BranchSkipped():
                self._console.print(f"[bold]{event.branch}[/]  skipped: {escape(event.reason)}")
            case RunFailed():
                self._reason = self._reason or event.reason

    def _start(self, name: str) -> None:
        self._running[name] = _Step(name)
        if not self._console.is_terminal:
            self._console.print(f"> {name}")

    def _print(self, step: "_Step", line: str) -> None:
        if not step.add(line):
            return
        if line.endswith(ON_THIS_MACHINE):  # which each step says anew
            if line in self._places:
                return
            self._places.add(line)
        if self._console.is_terminal and is_progress(line):
            step.progress = line
        else:
            self._console.print(f"  [dim]{step.prefix}{escape(line)}[/]")

    def _end(self, step: "_Step", ended: StepEnded) -> None:
        ok = ended.ok
        mark = "[green]ok[/]" if ok else "[red]failed[/]"
        # A step that failed may be tried again.
        self._failed.pop(step.name, None)
        if not ok:
            self._failed[step.name] = f"{step.name}: {step.explain(ended.how)}"
        for line in step.held if ok else ():
            self._console.print(f"  [dim]{step.prefix}{escape(line)}[/]")
        self._console.print(f"[bold]{step.name}[/]  {mark}  {time.monotonic() - step.started:.1f} s")

    def _update(self) -> None:
        if not self._console.is_terminal:
            return
        text = "  ".join(f"[bold]{step.name}[/]  {escape(step.progress)}" for step in self._running.values())
        if not text:
            self._stop()
        elif self._status:
            self._status.update(text)
        else:
            self._status = self._console.status(text)
            self._status.start()

    def _stop(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None


class _Step:
    """A step that runs, and what it has printed but for the noise."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.prefix = f"{name} | " if "/" in name else ""
        self.started = time.monotonic()
        self.progress = ""
        self.lines: list[str] = []
        self.held: list[str] = []
        self._in_json = False

    def add(self, line: str) -> bool:
        """Take a line; says whether to show it now. A traceback is held until it is known how the step ends."""
        line = line.rstrip()
        if not line or self._is_noise(line):
            return False
        self.lines.append(line)
        if self.held or line.startswith("Traceback "):
            self.held.append(line)
        return not self.held

    def explain(self, how: str) -> str:
        """Why the step failed, whose process ended in this way."""
        lines, inside = [], False
        for line in self.lines:
            inside = bool(_EXECUTOR_FRAME.match(line)) or (inside and line.startswith("    "))
            if not inside:
                lines.append(line)
        # A traceback says it all; without one, the last lines need not be about the failure.
        return explain(lines) if self.held else "\n".join(filter(None, [how, explain(lines)]))

    def _is_noise(self, line: str) -> bool:
        """Whether KFP's executor logs about itself, such as its input as JSON, or TensorFlow about its start."""
        if _EXECUTOR.match(line):
            self._in_json = line.endswith("executor_input:")
            return True
        if self._in_json:
            self._in_json = line != "}"
            return True
        return bool(_TENSORFLOW.match(line))
