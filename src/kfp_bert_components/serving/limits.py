"""How much a client may ask for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How large a request may be, and how much the server holds at a time.

    Attributes:
        instances: Most instances in one request.
        characters: Most characters in one text.
        body_bytes: Most bytes in the body of a request.
        bodies_bytes: Most bytes in the bodies of all requests that are under way.
        header_bytes: Most bytes in the head of a request: its first line and its headers.
        wait_seconds: A request is refused while what waits for the model takes longer than this, or than
            `drain_seconds`. A request that comes while nothing waits may be of any size, and does not count for those
            that are answered before it.
        connections: Most connections. One more closes the one that has sent no whole request for longest.
        header_seconds: Longest time for the head of a request, from the connection's begin or the head's first byte.
        body_seconds: Longest time for the body of a request.
        idle_seconds: How long a connection without a request is kept after an answer.
        unread_seconds: How long an answer that the client does not take is kept.
        drain_seconds: At the end of the server, longest time for the requests under way.
    """

    instances: int = 1024
    characters: int = 100_000
    body_bytes: int = 16 * 1024 * 1024
    bodies_bytes: int = 256 * 1024 * 1024
    header_bytes: int = 64 * 1024
    wait_seconds: float = 15
    connections: int = 1000
    header_seconds: float = 10
    body_seconds: float = 60
    idle_seconds: float = 60
    unread_seconds: float = 30
    drain_seconds: float = 20

    @property
    def values(self) -> int:
        """Most values in a JSON body, lists and objects among them: far more than the instances can have."""
        return 100 * self.instances
