"""What a person sees of a local run: steps as they start, their newest line, how they ended."""

import time
from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from kfp_bert_components.local.events import Event, StepEnded, StepPrinted, StepStarted
from kfp_bert_components.local.failure import explain
from kfp_bert_components.progress import is_progress


class Display:
    """Shows events on a console. On a terminal progress is one moving line, elsewhere plain lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._lines: list[str] = []
        self._started = 0.0
        self.failure = ""

    def follow(self, events: Iterable[Event]) -> None:
        """Show all `events`; afterwards `failure` explains the step that failed, if one did."""
        try:
            for event in events:
                self._show(event)
        finally:
            self._stop()

    def _show(self, event: Event) -> None:
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
