"""HTTP connections with the limits that uvicorn has no options for: their number, and the time of slow clients."""

from __future__ import annotations

import asyncio
import json

import httptools
from prometheus_client import Gauge
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from kfp_bert_components.serving.limits import Limits

UNREAD_SECONDS = 2.0  # how long the rest of a request that was refused is taken, for the client to read why


class Connection(HttpToolsProtocol):
    """One connection. It is closed where its client is slower than the limits allow.

    `limits` and `open`, the gauge of open connections, are attributes of a subclass; see `connection_class`.
    """

    limits: Limits
    open: Gauge
    _timer: asyncio.TimerHandle | None = None  # for the part of a request that is awaited
    _unread_timer: asyncio.TimerHandle | None = None
    _part = ""  # of a request that has begun to come: "head" or "body"
    _head_bytes = 0
    _messages = 0
    _goes_on = False  # the head that the parser reads is made by `_go_on`
    _idle_since = 0.0
    _refused = False
    _later: tuple[int, str] | None = None  # a refusal that waits until the requests before are answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come. Where there are too many, the one that has asked for nothing for longest has to go."""
        super().connection_made(transport)
        self.open.inc()
        self._idle_since = self.loop.time()
        self._wait(self.limits.header_seconds)
        if len(self.connections) > self.limits.connections:
            # A request that is whole is answered; of the others it is not known whether they ever will be.
            others = [one for one in self.connections if isinstance(one, Connection) and (one.is_idle or one._part)]
            oldest = min(others, key=lambda one: one._idle_since)
            self.connections.discard(oldest)
            oldest.transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._wait(0)
        if self._unread_timer:
            self._unread_timer.cancel()
        self.open.dec()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._refused:
            return
        messages, size = self._messages, len(data)
        self._unset_keepalive_if_required()
        while data:
            try:
                self.parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as upgrade:
                data = self._go_on(data[upgrade.args[0] :])
            except httptools.HttpParserError:
                self.send_400_response("")
                return
        if self._part == "head" and messages == self._messages:
            self._head_bytes += size  # the parser keeps what it has of a head, whatever its size
            self._head_is_too_large()

    def _go_on(self, rest: bytes) -> bytes:
        """Read on after a head that asks for another protocol, which is ignored: there the parser ends, before a body.

        Returns:
            What another parser is to be given: a head with the same body, and the rest.
        """
        self.parser, self._goes_on = httptools.HttpRequestParser(self), True
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        body = (b"content-length", b"transfer-encoding")
        lines = [b"%s: %s\r\n" % header for header in self.headers if header[0] in body]
        return b"POST / HTTP/1.1\r\n%s\r\n%s" % (b"".join(lines), rest)

    def on_message_begin(self) -> None:
        """The first byte of a request has come."""
        if self._goes_on:
            return
        self._part, self._head_bytes = "head", 0
        if self._timer is None:
            self._wait(self.limits.header_seconds)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the address has come."""
        if not self._goes_on:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has come."""
        if not self._goes_on:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head of a request has come."""
        if self._goes_on:
            self._goes_on = False
            return
        self._head_bytes = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if self._head_is_too_large():
            raise httptools.HttpParserError  # ends the parser
        self._part = "body"
        self._wait(self.limits.body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body of a request has come."""
        if self.parser.should_upgrade():  # it comes yet
            return
        self._part = ""
        self._messages += 1
        self._wait(0)
        super().on_message_complete()

    def _head_is_too_large(self) -> bool:
        most = self.limits.header_bytes
        if self._head_bytes > most:
            self._refuse(431, f"The head of the request is too large: send at most {most} bytes.")
        return self._head_bytes > most

    def on_response_complete(self) -> None:
        """An answer has been written."""
        self._idle_since = self.loop.time()
        super().on_response_complete()
        if self._later and self.is_idle:
            refusal, self._later, self._refused = self._later, None, False
            self._refuse(*refusal)

    def pause_writing(self) -> None:
        """The client does not take its answer."""
        super().pause_writing()
        self._unread_timer = self.loop.call_later(self.limits.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has taken most of its answer."""
        if self._unread_timer:
            self._unread_timer.cancel()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, "This is no valid HTTP request.")

    def _wait(self, seconds: float) -> None:
        """Wait at most so long for the next part of a request; 0: for nothing."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._close_late) if seconds else None

    def _close_late(self) -> None:
        self._timer = None
        if self._refused:
            self.transport.abort()
        elif self._part == "head":
            self._refuse(408, f"The head of the request took more than {self.limits.header_seconds:g} s.")
        elif self._part == "body":
            self._refuse(408, f"The body of the request took more than {self.limits.body_seconds:g} s.")
        else:
            self.transport.close()

    def _refuse(self, status: int, sentence: str) -> None:
        if self._refused or self.transport.is_closing():
            return
        if self._part != "body" and not self.is_idle:
            self._refused, self._later = True, (status, sentence)
            self._wait(0)
            return
        if self.is_idle or not self.cycle.response_started:  # else there would be a second answer in the first
            body = json.dumps({"error": sentence}).encode()
            head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[status] + head + body)
        self._refused = True
        if self.cycle:
            self.cycle.disconnected = True  # it writes nothing more
            self.cycle.message_event.set()
        # A close now would reset the connection of a client that still sends, and it would not see the answer.
        self.transport.write_eof()
        self.flow.resume_reading()
        self._wait(UNREAD_SECONDS)


def connection_class(limits: Limits, open: Gauge) -> type[Connection]:
    """The class of connections with these limits, for uvicorn's option `http`; `open` counts them."""
    return type("LimitedConnection", (Connection,), {"limits": limits, "open": open})
