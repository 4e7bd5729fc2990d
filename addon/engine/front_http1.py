"""A client's HTTP/1 connection: a request is served when the one before it is over."""

from __future__ import annotations

from collections.abc import Callable

from mitmproxy import http
from mitmproxy.connection import ConnectionState

from . import asking
from .exchange import Exchange
from .http1_connection import Http1Connection
from .http1_requests import check_end, next_request, read_on
from .readers import LAST_CHUNK, chunk

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Http1Front(Http1Connection):
    """See `front.Front`; `http1_requests` reads the requests."""

    # Input from the client.

    def received(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self.closed:
            return
        if (begun := self.begun).data:
            if (whole := begun.more(data, self.addon.limits().request_head)) is None:
                self.hold_head(len(begun.data))
                return
            self.hold_head(0)
            data = whole
        self.buffer = self.buffer + data if self.buffer else data
        read_on(self)

    def ended(self) -> None:
        """The client has closed its side, or all of the connection."""
        self.deadline.ends = None
        self.shut_down = True
        if not (self.turns.resting and self.conn.state is ConnectionState.CAN_WRITE):
            check_end(self)  # Otherwise the bytes sent before are read first.

    def take_rest(self) -> bytes:
        """Remove and return the bytes after the last request."""
        rest, self.buffer = self.buffer, b""
        self.pace(False)
        return rest

    # The requests in progress.

    @property
    def at_work(self) -> bool:
        """Whether a request is in progress, or has begun to arrive."""
        return self.exchange is not None or bool(self.buffer or self.begun.data)

    def exchanges(self) -> list[Exchange]:
        """Return the exchange in progress, if any."""
        exchange = self.exchange
        return [] if exchange is None else [exchange]

    def silence(self, waited: float) -> float | None:
        """See `Front`."""
        if self.reader is None or self.closed or self.exchange is None:
            return None
        return 0.0 if self.exchange.waits or self.turns.resting else waited

    def end_silent(self, seconds: float, waited: float) -> None:
        """See `Front`."""
        silent, exchange = self.silence(waited), self.exchange
        if exchange is None or silent is None or silent < seconds:
            return
        if self.answered:
            self.end_early(asking.BODY_STALLED)
        else:
            asking.stalled(exchange)

    def give_way(self) -> None:
        """See `Front`."""
        self.close()

    # Output to the client.

    def behind_what_is_there(self, then: Callable[[], None]) -> None:
        """See `Front`: here only the end of the connection ends an exchange."""
        then()

    def go_on(self, _: int) -> None:
        """See `Front`."""
        self.write(_CONTINUE)

    def head(self, _: int, response: http.Response) -> None:
        """See `Front`."""
        self.write(self.framing.head(response, streamed=True))

    def data(self, _: int, data: bytes) -> None:
        """See `Front`."""
        framing = self.framing
        if framing.bodiless:
            return
        self.write(chunk(data) if framing.chunked else data)

    def answer(self, _: int, response: http.Response) -> None:
        """See `Front`."""
        framing = self.framing
        head = framing.head(response, streamed=False)
        # A body set by an addon would be read as the next answer.
        content = b"" if framing.bodiless else response.raw_content or b""
        if content and framing.chunked:
            content = chunk(content)
        self.write(head + content)

    def finish(self, _: int) -> None:
        """See `Front`."""
        framing = self.framing
        if framing.chunked:
            self.write(LAST_CHUNK)
        self.answered = True
        self.release()
        if self.reader is None:
            next_request(self)
        elif framing.close_after:
            self.close()
        else:
            read_on(self)

    def refuse(self, _: int, response: http.Response) -> None:
        """See `Front`."""
        response.headers["Connection"] = "close"
        self.write(self.framing.head(response, streamed=False) + (response.raw_content or b""))
        self.release()
        self.exchange = None
        self.close()

    def abort(self, _: int) -> None:
        """See `Front`."""
        framing = self.framing
        if framing.head_sent and framing.unframed:
            # A normal close would mark the end of the answer.
            self.addon.reset(self.conn)
        self.exchange = None
        self.close()
