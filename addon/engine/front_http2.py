"""A client's HTTP/2 connection, using hyper-h2: many exchanges at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import h2.errors
from mitmproxy import http

from . import asking
from .downloads import Stream
from .exchange import Exchange
from .front import STOPPED_READING
from .http2_connection import Http2Connection
from .http2_fields import of_answer
from .http2_requests import read_on

if TYPE_CHECKING:
    from .layer import Engine


class Http2Front:
    """See `front.Front`; `http2_requests` reads the requests."""

    def __init__(self, engine: Engine) -> None:
        self._client = client = Http2Connection(engine, self)
        self._streams = client.streams
        self._h2 = client.h2
        self._send = client.downloads.send
        self._flush = client.flush

    # Input from the client.

    def received(self, data: bytes) -> None:
        """Take bytes from the client."""
        client = self._client
        client.heads.received(data)
        client.buffer = client.buffer + data if client.buffer else data
        read_on(client)

    def ended(self) -> None:
        """The client has closed its side, or all of the connection."""
        self._client.close()
        self._client.end_all("Client disconnected.")

    def take_rest(self) -> bytes:
        """Return no bytes: HTTP/2 connections do not become WebSockets here."""
        return b""

    # The requests in progress.

    @property
    def at_work(self) -> bool:
        """Whether a request is in progress, or has begun to arrive."""
        client = self._client
        return bool(client.streams or client.turns.resting or client.heads.begun)

    def exchanges(self) -> list[Exchange]:
        """Return the exchanges in progress."""
        return [stream.exchange for stream in self._streams.values()]

    def silence(self, waited: float) -> float | None:
        """See `Front`."""
        awaited = [stream for stream in self._streams.values() if not stream.whole]
        if self._client.closed or not awaited:
            return None
        return max(self._silence(stream, waited) for stream in awaited)

    def _silence(self, stream: Stream, waited: float) -> float:
        now, client = time.monotonic(), self._client
        stopped = client.uploads.is_stopped(stream.exchange.key)
        if not waited or client.turns.resting or stream.exchange.waits or stopped:
            stream.heard = now  # The client cannot send now.
        return now - stream.heard

    def end_silent(self, seconds: float, waited: float) -> None:
        """See `Front`."""
        for key, stream in [*self._streams.items()]:
            if not stream.whole and self._silence(stream, waited) >= seconds:
                asking.stalled(stream.exchange)
                if key not in self._streams:
                    # The answer is complete without the rest (RFC 9113, section 8.1).
                    self._h2.reset_stream(key, h2.errors.ErrorCodes.NO_ERROR)
                    self._flush()

    def end_untaken(self, seconds: float) -> None:
        """End the answers for which the client has had no room for so long."""
        client = self._client
        for key, stream in client.downloads.without_room(seconds):
            client.addon.was_cut(stream.exchange.flow, STOPPED_READING)
            self._h2.reset_stream(key, h2.errors.ErrorCodes.CANCEL)
            client.gone(key, STOPPED_READING)
        self._flush()

    def give_way(self) -> None:
        """See `Front`."""
        if not self._client.closed:
            self._h2.close_connection()
            self._flush()
            self._client.close()

    # Output to the client.

    def behind_what_is_there(self, then: Callable[[], None]) -> None:
        """See `Front`: the next bytes may reset the stream."""
        self._client.next_bytes.then(then)

    def go_on(self, key: int) -> None:
        """See `Front`."""
        if key in self._streams:
            self._h2.send_headers(key, [(b":status", b"100")])
            self._flush()

    def head(self, key: int, response: http.Response) -> None:
        """See `Front`."""
        if (stream := self._streams.get(key)) is not None:
            head = stream.exchange.flow.request.method == "HEAD"
            stream.bodiless = head or response.status_code in (204, 304)
            self._h2.send_headers(key, of_answer(response))
            self._flush()

    def data(self, key: int, data: bytes) -> None:
        """See `Front`."""
        stream = self._streams.get(key)
        if stream is None or not data or stream.bodiless:
            return
        stream.add(data)
        self._send(key)
        self._flush()

    def answer(self, key: int, response: http.Response) -> None:
        """See `Front`."""
        self.head(key, response)
        self.data(key, response.raw_content or b"")

    def finish(self, key: int) -> None:
        """See `Front`."""
        if (stream := self._streams.get(key)) is not None:
            stream.complete = True
            self._send(key)
            self._flush()

    def refuse(self, key: int, response: http.Response) -> None:
        """See `Front`."""
        self.answer(key, response)
        self.finish(key)

    def abort(self, key: int) -> None:
        """See `Front`."""
        client = self._client
        stream = self._streams.pop(key, None)
        client.uploads.forget(key)
        if stream is None or client.closed:
            return
        client.downloads.let_go(stream)
        client.addon.over(stream.exchange.flow)
        self._h2.reset_stream(key, h2.errors.ErrorCodes.INTERNAL_ERROR)
        self._flush()
