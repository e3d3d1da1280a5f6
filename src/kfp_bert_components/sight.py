"""For how long something has been seen unchanged, by this machine's own clock."""

import time


class Sight:
    """What was seen last, and since when.

    The clock stands still while the machine sleeps.
    """

    def __init__(self) -> None:
        self._seen, self._since = -1, 0.0

    def unchanged(self, seen: int) -> float:
        """Seconds since the first of the looks in a row that saw this number, which is not negative."""
        now = time.monotonic()
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since

    def lose(self) -> None:
        """Begin anew with the next look."""
        self._seen = -1
