"""For how long something has been seen unchanged, by this machine's own clock."""

import time
from collections.abc import Hashable


class Sight:
    """What was seen last, and since when.

    The clock stands still while the machine sleeps.
    """

    def __init__(self) -> None:
        self._seen: Hashable = None
        self._since = 0.0

    def unchanged(self, seen: Hashable) -> float:
        """Seconds since the first of the looks in a row that saw this, which is not None."""
        now = time.monotonic()
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since

    def lose(self) -> None:
        """Begin anew with the next look."""
        self._seen = None
