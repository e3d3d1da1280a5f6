"""Progress bars, as plain lines for a pod's log and for the display of a local run."""

import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

_ARGO_SECONDS = 10  # Argo itself looks every three, and tells the cluster every minute
_PROGRESS = re.compile(r"\(\d+ %\), .* left|^\S+ing [\d,]+ \w+, \S+ \w+/s")


class _WholeLines:
    """A stream for tqdm that prints whole lines where tqdm would overwrite the line before."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = ""

    def write(self, text: str) -> None:
        line = " ".join(text.split())
        if line and line != self._last:
            self._stream.write(line + "\n")
            self._last = line

    def flush(self) -> None:
        self._stream.flush()


class _Bar(tqdm):
    """A bar that also tells Argo how far the step has come: see `part` of `track`."""

    part: tuple[int, int] | None = None
    _told = 0.0

    def display(self, *arguments: Any, **settings: Any) -> Any:
        if self.part and time.monotonic() - self._told > _ARGO_SECONDS:
            self._tell()
        return super().display(*arguments, **settings)

    def close(self) -> None:
        if self.part and not self.disable:
            self._tell()
        super().close()

    def _tell(self) -> None:
        path = os.environ.get("ARGO_PROGRESS_FILE")
        if path and self.part and self.total:
            number, parts = self.part
            with suppress(OSError):  # only a display lacks it
                Path(path).write_text(f"{number * self.total + self.n}/{parts * self.total}\n")
        self._told = time.monotonic()


def track(
    total: int | None,
    description: str,
    unit: str = "steps",
    *,
    bytes_: bool = False,
    every: float = 1.0,
    part: tuple[int, int] | None = None,
    done: int = 0,
) -> tqdm:
    """A tqdm progress bar that prints plain lines, at most one every `every` seconds.

    Args:
        total: Number of units of work. None if it is not known: then the first line comes after `every` seconds.
        description: What is being done: "training".
        unit: Name of the units in the plural: "examples".
        bytes_: Whether the units are bytes, which are shown as kB, MB or GB.
        every: Shortest time between two lines, in seconds.
        part: Where this is the work that the step is there for: which part of it, from 0, and how many there are. Then
            units done and total are written to the file that ARGO_PROGRESS_FILE names, every ten seconds.
        done: Units that an earlier run has done: they are shown, and don't count for the rate.

    Returns:
        The bar, a context manager: `update(n)` adds n units, and `set_postfix_str(text, refresh=False)` adds a text to
        the next line.
    """
    layout = "{desc} {n_fmt}/{total_fmt}{unit} ({percentage:.0f} %), {rate_fmt}, {remaining} left{postfix}"
    if total is None:
        layout = "{desc} {n:,}{unit}, {rate_fmt}{postfix}"
    bar = _Bar(
        total=total,
        initial=done,
        desc=description,
        unit="B" if bytes_ else f" {unit}",
        unit_scale=bytes_ or total is None,
        bar_format=layout,
        mininterval=every,
        maxinterval=every,
        delay=0 if total else every,
        file=_WholeLines(sys.stdout),
        ascii=True,
    )
    bar.part = part
    return bar


def is_progress(line: str) -> bool:
    """Whether `line` was printed by `track`, so that a display can replace it with the next one."""
    return _PROGRESS.search(line) is not None
