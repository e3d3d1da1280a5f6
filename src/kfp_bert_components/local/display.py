"""What a person sees of a local run: each step as it starts, what it prints, and how it ends."""

import time
from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from kfp_bert_components.local.events import StepEnded, StepEvent, StepPrinted, StepStarted
from kfp_bert_components.local.failure import explain
from kfp_bert_components.progress import is_progress


class Display:
    """Shows the events of a run on a console.

    On a terminal, a progress line replaces the one before; in a file or pipe, each is a line of its own.

    Attributes:
        failure: Name of the failed step and what went wrong in it; "" if no step failed.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._lines: list[str] = []
        self._started = 0.0
        self.failure = ""

    def follow(self, events: Iterable[StepEvent]) -> None:
        """Show events until there are no more; `failure` is set if a step fails."""
        try:
            for event in events:
                self._show(event)
        finally:
            self._stop()

    def _show(self, event: StepEvent) -> None:
        if isinstance(event, StepStarted):
            self._start(event.step)
        elif isinstance(event, StepPrinted):
            self._print(event)
        elif isinstance(event, StepEnded):
            self._end(event)

    def _start(self, step: str) -> None:
        self._lines, self._started = [], time.monotonic()
        if self._console.is_terminal:
            self._status = self._console.status(f"[bold]{step}[/]")
            self._status.start()
        else:
            self._console.print(f"> {step}")

    def _print(self, event: StepPrinted) -> None:
        self._lines.append(event.line)
        if self._status and is_progress(event.line):
            self._status.update(f"[bold]{event.step}[/]  {escape(event.line)}")
        elif not _in_traceback(self._lines):
            self._console.print(f"  [dim]{escape(event.line)}[/]")

    def _end(self, event: StepEnded) -> None:
        self._stop()
        seconds = time.monotonic() - self._started
        mark = "[green]ok[/]" if event.ok else "[red]failed[/]"
        self._console.print(f"[bold]{event.step}[/]  {mark}  {seconds:.1f} s")
        if not event.ok:
            self.failure = f"{event.step}: {explain(self._lines)}"

    def _stop(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None


def _in_traceback(lines: list[str]) -> bool:
    return any(line.startswith("Traceback ") for line in lines)
