"""Progress of long work as plain lines: readable in a pod's log, and in the local display."""

import sys
from typing import TextIO

from tqdm import tqdm


class _Lines:
    """Turns the carriage returns of a progress bar into whole lines, for logs that are no terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        line = text.strip("\r\n")
        if line.strip():
            self._stream.write(line + "\n")

    def flush(self) -> None:
        self._stream.flush()


def track(total: int | None, description: str, unit: str = "it", *, bytes_: bool = False, every: float = 1.0) -> tqdm:
    """A progress bar over `total` units that prints one line at most each `every` seconds.

    Args:
        total: Number of units of work, or None when it is not known.
        description: What is being done, in the present participle: "training".
        unit: Name of one unit, singular.
        bytes_: Whether the units are bytes, to be shown as kB, MB or GB.
        every: Least number of seconds between two lines.

    Returns:
        A `tqdm` whose `update(n)` and `set_postfix_str(text)` move it on; use it as a context manager.
    """
    layout = "{desc} {n_fmt}/{total_fmt} {unit} ({percentage:.0f} %) {rate_fmt}, {remaining} left{postfix}"
    if total is None:
        layout = "{desc} {n_fmt} {unit} {rate_fmt}{postfix}"
    return tqdm(
        total=total, desc=description, unit=unit, unit_scale=bytes_, unit_divisor=1000, bar_format=layout,
        mininterval=every, maxinterval=every, file=_Lines(sys.stdout), ascii=True,
    )
