"""Progress of long work as plain lines: readable in a pod's log, and in the local display."""

import re
import sys
from typing import TextIO

from tqdm import tqdm

_PROGRESS = re.compile(r"\(\d+ %\), .* left|^\S+ing [\d,]+ \w+, \S+ \w+/s")


class _Lines:
    """Turns the carriage returns of a progress bar into whole lines, for logs that are no terminal."""

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


def track(
    total: int | None, description: str, unit: str = "steps", *, bytes_: bool = False, every: float = 1.0
) -> tqdm:
    """A progress bar over `total` units that prints one line at most each `every` seconds.

    Args:
        total: Number of units of work, or None when it is not known; then nothing is printed of short work.
        description: What is being done, in the present participle: "training".
        unit: Name of the units, plural: "examples".
        bytes_: Whether the units are bytes, to be shown as kB, MB or GB.
        every: Least number of seconds between two lines.

    Returns:
        A `tqdm` whose `update(n)` moves it on, and whose `set_postfix_str(text, refresh=False)` adds a text to
        the next line; use it as a context manager.
    """
    layout = "{desc} {n_fmt}/{total_fmt}{unit} ({percentage:.0f} %), {rate_fmt}, {remaining} left{postfix}"
    if total is None:
        layout = "{desc} {n:,}{unit}, {rate_fmt}{postfix}"
    return tqdm(
        total=total,
        desc=description,
        unit="B" if bytes_ else f" {unit}",
        unit_scale=bytes_ or total is None,
        bar_format=layout,
        mininterval=every,
        maxinterval=every,
        delay=0 if total else every,
        file=_Lines(sys.stdout),
        ascii=True,
    )


def say(line: str) -> None:
    """Print a line at once, for those who watch a log."""
    print(line, flush=True)


def is_progress(line: str) -> bool:
    """Whether `line` was printed by `track` and will be outdated by the next one."""
    return _PROGRESS.search(line) is not None
