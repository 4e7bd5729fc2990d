"""A client's HTTP/1 connection: a request is served when the one before it is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mitmproxy import http
from mitmproxy.connection import ConnectionState

from . import asking
from .exchange import Exchange
from .http1_connection import Http1Connection
from .http1_requests import check_end, next_request, read_on
from .readers import LAST_CHUNK, chunk

if TYPE_CHECKING:
    from .layer import Engine

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Http1Front:
    """See `front.Front`; `http1_requests` reads the requests."""

    def __init__(self, engine: Engine) -> None:
        self._client = Http1Connection(engine, self)
        self._framing = self._client.framing

    # Input from the client.

    def received(self, data: bytes) -> None:
        """Take bytes from the client."""
        client = self._client
        if client.closed:
            return
        if (begun := client.begun).data:
            if (whole := begun.more(data, client.addon.limits().request_head)) is None:
                return
            data = whole
        client.buffer = client.buffer + data if client.buffer else data
        read_on(client)

    def ended(self) -> None:
        """The client has closed its side, or all of the connection."""
        client = self._client
        client.deadline.ends = None
        client.ended = True
        if not (client.turns.resting and client.conn.state is ConnectionState.CAN_WRITE):
            check_end(client)  # Otherwise the bytes sent before are read first.

    def take_rest(self) -> bytes:
        """Remove and return the bytes after the last request."""
        client = self._client
        rest, client.buffer = client.buffer, b""
        return rest

    # The requests in progress.

    @property
    def at_work(self) -> bool:
        """Whether a request is in progress, or has begun to arrive."""
        client = self._client
        return client.exchange is not None or bool(client.buffer or client.begun.data)

    def exchanges(self) -> list[Exchange]:
        """Return the exchange in progress, if any."""
        exchange = self._client.exchange
        return [] if exchange is None else [exchange]

    def silence(self, waited: float) -> float | None:
        """See `Front`."""
        client = self._client
        if client.reader is None or client.closed or client.exchange is None:
            return None
        return 0.0 if client.exchange.waits or client.turns.resting else waited

    def end_silent(self, seconds: float, waited: float) -> None:
        """See `Front`."""
        silent, exchange = self.silence(waited), self._client.exchange
        if exchange is None or silent is None or silent < seconds:
            return
        if self._client.answered:
            self._client.end_early(asking.BODY_STALLED)
        else:
            asking.stalled(exchange)

    def give_way(self) -> None:
        """See `Front`."""
        self._client.close()

    # Output to the client.

    def behind_what_is_there(self, then: Callable[[], None]) -> None:
        """See `Front`: here only the end of the connection ends an exchange."""
        then()

    def go_on(self, _: int) -> None:
        """See `Front`."""
        self._client.write(_CONTINUE)

    def head(self, _: int, response: http.Response) -> None:
        """See `Front`."""
        self._client.write(self._framing.head(response, streamed=True))

    def data(self, _: int, data: bytes) -> None:
        """See `Front`."""
        framing = self._framing
        if framing.bodiless:
            return
        self._client.write(chunk(data) if framing.chunked else data)

    def answer(self, _: int, response: http.Response) -> None:
        """See `Front`."""
        framing = self._framing
        head = framing.head(response, streamed=False)
        # A body set by an addon would be read as the next answer.
        content = b"" if framing.bodiless else response.raw_content or b""
        if content and framing.chunked:
            content = chunk(content)
        self._client.write(head + content)

    def finish(self, _: int) -> None:
        """See `Front`."""
        client, framing = self._client, self._framing
        if framing.chunked:
            client.write(LAST_CHUNK)
        client.answered = True
        client.release()
        if client.reader is None:
            next_request(client)
        elif framing.close_after:
            client.close()
        else:
            read_on(client)

    def refuse(self, _: int, response: http.Response) -> None:
        """See `Front`."""
        response.headers["Connection"] = "close"
        client = self._client
        client.write(self._framing.head(response, streamed=False) + (response.raw_content or b""))
        client.release()
        client.exchange = None
        client.close()

    def abort(self, _: int) -> None:
        """See `Front`."""
        client, framing = self._client, self._framing
        if framing.head_sent and framing.unframed:
            # A normal close would mark the end of the answer.
            client.addon.reset(client.conn)
        client.release()
        client.exchange = None
        client.close()
