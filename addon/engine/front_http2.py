"""A client's HTTP/2 connection, using hyper-h2: many exchanges at once."""

from __future__ import annotations

import time
from collections.abc import Callable

import h2.errors
from mitmproxy import http

from . import asking
from .downloads import Stream
from .exchange import Exchange
from .front import STOPPED_READING
from .http2_connection import Http2Connection
from .http2_fields import of_answer
from .http2_requests import read_on


class Http2Front(Http2Connection):
    """See `front.Front`; `http2_requests` reads the requests."""

    # Input from the client.

    def received(self, data: bytes) -> None:
        """Take bytes from the client."""
        self.heads.received(data)
        self.buffer = self.buffer + data if self.buffer else data
        read_on(self)

    def ended(self) -> None:
        """The client has closed its side, or all of the connection."""
        self.close()
        self.end_all("Client disconnected.")

    def take_rest(self) -> bytes:
        """Return no bytes: HTTP/2 connections do not become WebSockets here."""
        return b""

    # The requests in progress.

    @property
    def at_work(self) -> bool:
        """Whether a request is in progress, or has begun to arrive."""
        return bool(self.streams or self.turns.resting or self.heads.begun)

    def exchanges(self) -> list[Exchange]:
        """Return the exchanges in progress."""
        return [stream.exchange for stream in self.streams.values()]

    def silence(self, waited: float) -> float | None:
        """See `Front`."""
        awaited = [stream for stream in self.streams.values() if not stream.whole]
        if self.closed or not awaited:
            return None
        return max(self._silence(stream, waited) for stream in awaited)

    def _silence(self, stream: Stream, waited: float) -> float:
        now = time.monotonic()
        stopped = self.uploads.is_stopped(stream.exchange.key)
        if not waited or self.turns.resting or stream.exchange.waits or stopped:
            stream.heard = now  # The client cannot send now.
        return now - stream.heard

    def end_silent(self, seconds: float, waited: float) -> None:
        """See `Front`."""
        for key, stream in [*self.streams.items()]:
            if not stream.whole and self._silence(stream, waited) >= seconds:
                asking.stalled(stream.exchange)
                if key not in self.streams:
                    # The answer is complete without the rest (RFC 9113, section 8.1).
                    self.h2.reset_stream(key, h2.errors.ErrorCodes.NO_ERROR)
                    self.flush()

    def end_untaken(self, seconds: float) -> None:
        """End the answers for which the client has had no room for so long."""
        for key, stream in self.downloads.without_room(seconds):
            self.addon.was_cut(stream.exchange.flow, STOPPED_READING)
            self.h2.reset_stream(key, h2.errors.ErrorCodes.CANCEL)
            self.gone(key, STOPPED_READING)
        self.flush()

    def give_way(self) -> None:
        """See `Front`."""
        if not self.closed:
            self.h2.close_connection()
            self.flush()
            self.close()

    # Output to the client.

    def behind_what_is_there(self, then: Callable[[], None]) -> None:
        """See `Front`: the next bytes may reset the stream."""
        self.next_bytes.then(then)

    def go_on(self, key: int) -> None:
        """See `Front`."""
        if key in self.streams:
            self.h2.send_headers(key, [(b":status", b"100")])
            self.flush()

    def head(self, key: int, response: http.Response) -> None:
        """See `Front`."""
        if (stream := self.streams.get(key)) is not None:
            head = stream.exchange.flow.request.method == "HEAD"
            stream.bodiless = head or response.status_code in (204, 304)
            self.h2.send_headers(key, of_answer(response))
            self.flush()

    def data(self, key: int, data: bytes) -> None:
        """See `Front`."""
        stream = self.streams.get(key)
        if stream is None or not data or stream.bodiless:
            return
        stream.add(data)
        self.downloads.send(key)
        self.flush()

    def answer(self, key: int, response: http.Response) -> None:
        """See `Front`."""
        self.head(key, response)
        self.data(key, response.raw_content or b"")

    def finish(self, key: int) -> None:
        """See `Front`."""
        if (stream := self.streams.get(key)) is not None:
            stream.complete = True
            self.downloads.send(key)
            self.flush()

    def refuse(self, key: int, response: http.Response) -> None:
        """See `Front`."""
        self.answer(key, response)
        self.finish(key)

    def abort(self, key: int) -> None:
        """See `Front`."""
        stream = self.streams.pop(key, None)
        self.uploads.forget(key)
        if stream is None or self.closed:
            return
        self.downloads.let_go(stream)
        self.h2.reset_stream(key, h2.errors.ErrorCodes.INTERNAL_ERROR)
        self.flush()
