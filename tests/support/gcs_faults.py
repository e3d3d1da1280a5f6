"""Faults that the server makes on request."""

from __future__ import annotations

import random
import re
import threading
from dataclasses import dataclass, field


@dataclass
class Fault:
    """One kind of fault for the requests that match it.

    Kinds: an HTTP status such as "503", with `body` as its message; "reset" (the connection is cut before an answer);
    "lost_reply" (cut after a write took effect), "late_504" (this status after it took effect); "truncate" (cut in the
    middle of the body, or `after` so many bytes of it), "short" (fewer bytes, the length header agrees), "long" (`body`
    follows, and no header says the length), "longer" (`body` follows, the length header agrees), "corrupt" (one bit
    differs), "swap" (`body` repeated to the same length), "no_hash" (without x-goog-hash), "corrupt_no_hash",
    "swap_no_hash", "slow" (waits `seconds` first), "endless" (a chunked body that goes on for as long as the client
    takes it), "bad_chunk" (a chunked body whose next size is no number), "no_size" (a listing without sizes), "page"
    (another server's HTML page with status 200). `in_body` must occur in the request's body; `skip` requests that match
    pass first.
    """

    kind: str
    match: str = ""
    method: str = ""
    times: int | None = 1
    share: float = 1.0
    body: bytes = b""
    seconds: float = 1.0
    after: int | None = None
    in_body: bytes = b""
    skip: int = 0
    hits: int = 0


@dataclass
class Faults:
    """The faults in force, the first that matches is made."""

    seed: int = 0
    active: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()

    def add(self, kind: str, match: str = "", **settings: object) -> Fault:
        """Add a fault; `match` is searched as a regular expression in the unquoted path with query."""
        fault = Fault(kind, match, **settings)  # type: ignore[arg-type]
        with self._lock:
            self.active.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self.active.clear()

    def take(self, method: str, path: str, body: bytes = b"") -> Fault | None:
        """The fault to make for this request, counted."""
        with self._lock:
            for fault in self.active:
                used_up = fault.times is not None and fault.hits >= fault.times
                other = fault.method and fault.method != method
                other = other or fault.in_body not in body
                if used_up or other or not re.search(fault.match, path) or self._random.random() >= fault.share:
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.hits += 1
                return fault
        return None
