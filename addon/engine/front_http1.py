"""A client's HTTP/1 connection: reads requests one after the other, writes their answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.net.http import http1

from ..protocol.headers import read
from . import heads, messages
from .backlog import Backlog
from .exchange import BODY_STALLED, Exchange
from .readers import (
    BrokenError,
    Chunked,
    Length,
    Reader,
)
from .responses import to_last_bytes
from .turns import Turns

if TYPE_CHECKING:
    from .layer import Engine

HALF_OPEN_SECONDS = 5
"""Seconds until an answer must begin for a client that has shut down its side."""
BACKLOG = 256 * 1024
"""Bytes of later requests that are read while one is served."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Http1Front:
    """See `front.Front`; a request is served when the one before it is over."""

    def __init__(self, engine: Engine) -> None:
        self.exchange: Exchange | None = None
        self._engine = engine
        self._conn = engine.context.client
        self._buffer = b""
        self._begun = heads.Begun()
        self._reader: Reader | None = None
        self._bodiless = False
        """Whether the answer has no body, as to HEAD."""
        self._modern = True
        """Whether the client speaks HTTP/1.1."""
        self._key = 1
        self._chunked = False
        """Whether the body of the answer is sent in chunks."""
        self._close_after = False
        self._unframed = False
        """Whether the end of the connection ends the answer's body."""
        self._head_sent = False
        self._answered = False
        """Whether the answer is complete."""
        self._head_ends: float | None = None
        """The time by which a head that has begun must be complete."""
        self._alarm = False
        self._closed = False
        self._ended = False
        """Whether the client has shut down its side."""
        self._waited_for = False
        """Whether the answer to a half-closed client has a time limit already."""
        self._paused = False
        self._backlog = Backlog(engine)
        self._busy = False
        self._turns = Turns(engine.addon.slots, engine.wake_up)

    # Input from the client.

    def received(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._closed:
            return
        if self._begun.data:
            if (whole := self._begun.more(data, self._engine.addon.request_head_limit())) is None:
                return
            data = whole
        self._buffer = self._buffer + data if self._buffer else data
        self.read_on()

    def ended(self) -> None:
        """The client has closed its side, or all of the connection."""
        self._head_ends, self._ended = None, True
        if not (self._turns.resting and self._conn.state is ConnectionState.CAN_WRITE):
            self._check_end()  # Otherwise the bytes sent before are read first.

    def _check_end(self) -> None:
        """After the client's last bytes, close the connection unless it may await an answer."""
        if not self._ended or self._closed:
            return
        if self.exchange is None:
            self._close()
            return
        half_open = self._conn.state is ConnectionState.CAN_WRITE
        if self._reader is None and half_open and not self._answered:
            # It may await its answer, or may have gone: only writing to it will show which.
            if not self._waited_for:
                self._waited_for = True
                self._engine.wake_up(HALF_OPEN_SECONDS, self._half_open)
            return
        self._end_early("Client disconnected.")

    def _half_open(self) -> None:
        if self.exchange is not None and not self._head_sent:
            self._end_early("Client disconnected.")

    def _end_early(self, why: str) -> None:
        exchange = self.exchange
        self._close()
        if exchange is not None:
            exchange.gone(why)
            self._engine.addon.over(exchange.flow)

    @property
    def at_work(self) -> bool:
        """Whether a request is in progress, or has begun to arrive."""
        return self.exchange is not None or bool(self._buffer or self._begun.data)

    def exchanges(self) -> list[Exchange]:
        """Return the exchange in progress, if any."""
        return [] if self.exchange is None else [self.exchange]

    def read_on(self) -> None:
        """Read the buffered bytes for one turn."""
        if self._busy:
            return  # The same loop is running further down the stack.
        if not (turns := self._turns).resting:
            self._busy = True
            turns.begin()
            try:
                while self._read_some():
                    if self._buffer and turns.is_over:
                        turns.rest(self.read_on)
                        break
                else:
                    self._check_end()
            finally:
                self._busy = False
        if self._reader is not None and not self._closed:
            self._engine.addon.await_body(self._conn, self)
        self._pace()

    def silence(self, waited: float) -> float | None:
        """See `Front`."""
        if self._reader is None or self._closed or self.exchange is None:
            return None
        return 0.0 if self.exchange.waits or self._turns.resting else waited

    def end_silent(self, seconds: float, waited: float) -> None:
        """See `Front`."""
        silent, exchange = self.silence(waited), self.exchange
        if exchange is None or silent is None or silent < seconds:
            return
        if self._answered:
            self._end_early(BODY_STALLED)
        else:
            exchange.stalled()

    def give_way(self) -> None:
        """See `Front`."""
        self._close()

    def _read_some(self) -> bool:
        """Read a head, or a part of a body; return whether there may be more to read."""
        if self._closed:
            return False
        if self.exchange is None:
            return self._read_head()
        if (reader := self._reader) is None or not self._buffer:
            return False
        return self._read_body(reader)

    def take_rest(self) -> bytes:
        """Remove and return the bytes after the last request."""
        rest, self._buffer = self._buffer, b""
        return rest

    def _pace(self) -> None:
        """Stop reading while the buffered bytes have to wait."""
        if self._turns.resting:
            full = bool(self._buffer)
        else:
            served = self.exchange is not None and self._reader is None
            full = served and len(self._buffer) > BACKLOG
        if full != self._paused:
            self._paused = full
            self._engine.addon.pace(self._conn, self._conn, not full)

    def _read_head(self) -> bool:
        buffer = self._buffer
        if skip := heads.empty_lines(buffer):
            self._buffer = buffer = buffer[skip:]
        if not buffer:
            return False
        addon = self._engine.addon
        end = heads.end(buffer)
        if (end or len(buffer)) > addon.request_head_limit():
            self._refuse_bytes(431)
            return False
        if end is None:
            self._begun.begin(buffer)
            self._buffer = b""
            if self._head_ends is None:
                self._head_ends = time.monotonic() + addon.head_time(self._conn)
            self._check_time()
            return False
        self._head_ends = None
        raw, self._buffer = buffer[:end], buffer[end:]
        head = heads.read_request(raw)
        request = _request(head) if head is not None else None
        if head is None or request is None:
            self._refuse_bytes(400)
            return False
        try:
            length = heads.framing(head.fields, head.version)
        except ValueError:
            self._refuse_bytes(400)
            return False
        self._begin(head, request, Chunked() if length is None else Length(length))
        return True

    def _begin(self, head: heads.RequestHead, request: http.Request, reader: Reader) -> None:
        fields = head.fields
        self._bodiless = head.method == b"HEAD"
        self._modern = head.version != b"HTTP/1.0"
        self._head_sent = self._answered = False
        self._close_after = not self._modern or heads.closes(head.version, fields)
        ended = reader.done
        self._reader = None if ended else reader
        self.exchange = exchange = Exchange(self._engine, self, self._key)
        host = request.data.authority or fields.get(b"host", b"")
        exchange.begin(
            request,
            host=host.decode("utf-8", "surrogateescape"),
            ended=ended,
            expects=b"expect" in fields,
        )
        if ended:
            exchange.end()

    def _read_body(self, reader: Reader) -> bool:
        try:
            data = reader.feed(self._buffer)
        except BrokenError:
            self._broken()
            return False
        progress = len(reader.rest) < len(self._buffer)
        self._buffer = reader.rest
        exchange = self.exchange
        if data and exchange is not None:
            exchange.body(data)
            if exchange.waits:
                self._backlog.add(exchange, len(data))
        if reader.done:
            self._reader = None
            if self._answered:
                self._next()
            elif exchange is not None:
                exchange.end()
            return True
        return progress and bool(self._buffer)

    def _broken(self) -> None:
        exchange, sent = self.exchange, self._head_sent
        if not sent:
            reply = self._engine.addon.own_reply(None, 400, "")
            self._write(to_last_bytes(reply, "HEAD" if self._bodiless else "GET"))
        self._close()
        if exchange is not None:
            exchange.gone("HTTP/1 protocol error: a malformed body")
            self._engine.addon.over(exchange.flow)

    def _check_time(self) -> None:
        """Refuse a head that is not complete in time; until then set an alarm."""
        if self._head_ends is None or self._alarm:
            return
        left = self._head_ends - time.monotonic()
        if left <= 0:
            self._refuse_bytes(408)
        else:
            self._alarm = True
            self._engine.wake_up(left, self._look_again)

    def _look_again(self) -> None:
        self._alarm = False
        if not self._closed:
            self._check_time()

    def _refuse_bytes(self, status: int) -> None:
        """Answer bytes that are not a request."""
        self._head_ends = None
        addon = self._engine.addon
        reply = addon.own_reply(None, status, "")
        addon.refused(self._conn, reply)
        self._write(to_last_bytes(reply))
        self._close()

    # Output to the client.

    def behind_what_is_there(self, then: Callable[[], None]) -> None:
        """See `Front`: here only the end of the connection ends an exchange."""
        then()

    def go_on(self, _: int) -> None:
        """See `Front`."""
        self._write(_CONTINUE)

    def head(self, _: int, response: http.Response) -> None:
        """See `Front`."""
        self._write(self._head(response, streamed=True))

    def data(self, _: int, data: bytes) -> None:
        """See `Front`."""
        if self._bodiless:
            return
        self._write(b"%x\r\n%s\r\n" % (len(data), data) if self._chunked else data)

    def answer(self, _: int, response: http.Response) -> None:
        """See `Front`."""
        head = self._head(response, streamed=False)
        # A body set by an addon would be read as the next answer.
        content = b"" if self._bodiless else response.raw_content or b""
        if content and self._chunked:
            content = b"%x\r\n%s\r\n" % (len(content), content)
        self._write(head + content)

    def _head(self, response: http.Response, *, streamed: bool) -> bytes:
        self._head_sent = True
        data = response.data
        pairs, status, version = data.headers.fields, data.status_code, data.http_version
        fields = read(pairs)
        if (self._close_after or self._engine.addon.is_draining()) and status != 101:
            pairs = (*_without(pairs, b"connection"), (b"Connection", b"close"))
            self._close_after = True
        self._bodiless = bodiless = self._bodiless or status in (101, 204, 304)
        chunked = b"chunked" in fields.get(b"transfer-encoding", b"").lower()
        framed = chunked or b"content-length" in fields or bodiless
        if chunked and not self._modern:
            pairs = _without(pairs, b"transfer-encoding")
            chunked, framed = False, bodiless
            self._close_after = self._close_after or not bodiless
        elif not framed and self._modern and streamed:
            # Only chunks let the client detect a truncated body (RFC 9112, section 8).
            pairs = (*pairs, (b"Transfer-Encoding", b"chunked"))
            chunked = True
        elif not framed:
            self._close_after = True
        self._unframed = not (framed or chunked)
        self._chunked = chunked and not bodiless
        if self._chunked or version != b"HTTP/1.0":
            version = b"HTTP/1.1"
        if heads.closes(version, fields):
            self._close_after = True
        return heads.write(b"%s %d %s" % (version, status, data.reason), pairs)

    def finish(self, _: int) -> None:
        """See `Front`."""
        if self._chunked:
            self._write(b"0\r\n\r\n")
        self._answered = True
        self._over()
        if self._reader is None:
            self._next()
        elif self._close_after:
            self._close()
        else:
            self.read_on()

    def _over(self) -> None:
        if self.exchange is not None:
            self._engine.addon.over(self.exchange.flow)

    def _next(self) -> None:
        """The request and its answer are complete."""
        self.exchange = None
        self._reader = None
        self._key += 2
        if self._close_after or (self._ended and not self._buffer):
            self._close()
        else:
            self.read_on()

    def refuse(self, _: int, response: http.Response) -> None:
        """See `Front`."""
        response.headers["Connection"] = "close"
        self._write(self._head(response, streamed=False) + (response.raw_content or b""))
        self._over()
        self.exchange = None
        self._close()

    def abort(self, _: int) -> None:
        """See `Front`."""
        if self._head_sent and self._unframed:
            # A normal close would mark the end of the answer.
            self._engine.addon.reset(self._conn)
        self._over()
        self.exchange = None
        self._close()

    def _write(self, data: bytes) -> None:
        if self._conn.state & ConnectionState.CAN_WRITE:
            self._engine.write_client(data)

    def _close(self) -> None:
        self._closed = True
        self._buffer = b""
        self._begun = heads.Begun()
        if self._paused:
            self._paused = False
            self._engine.addon.pace(self._conn, self._conn, True)
        self._engine.close(self._conn)


def _without(pairs: heads.Pairs, name: bytes) -> heads.Pairs:
    return tuple(pair for pair in pairs if pair[0].lower() != name)


def _request(head: heads.RequestHead) -> http.Request | None:
    """Return mitmproxy's object for a request; None for a malformed target."""
    host, port, scheme, authority, path = "", 0, b"", b"", head.target
    if not path.startswith(b"/") and path != b"*":
        # mitmproxy 11 does not know a scheme in capitals (RFC 3986, section 3.1).
        name, mark, rest = path.partition(b"://")
        target = name.lower() + mark + rest if mark else path
        try:
            line = b"%s %s %s" % (head.method, target, head.version)
            parsed = http1.read._read_request_line(line)
        except ValueError:
            return None
        host, port, _, scheme, authority, path, _ = parsed
    return messages.request(
        head.pairs,
        method=head.method,
        path=path,
        version=head.version,
        timestamp=time.time(),
        host=host,
        port=port,
        scheme=scheme,
        authority=authority,
    )
