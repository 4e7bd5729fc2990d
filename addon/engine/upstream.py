"""An HTTP/1.1 connection to a registry, plain or with TLS."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from mitmproxy import http
from mitmproxy.connection import ConnectionState, Server

from ..protocol import framing
from ..protocol.headers import read
from . import answering, heads, messages, to_registry
from .exchange import Exchange
from .readers import LAST_CHUNK, BrokenError, Reader, UntilEnd, chunk
from .turns import Turns
from .upstream_messages import pairs_of, reader_of, target

if TYPE_CHECKING:
    from .layer import Engine

UNASKED = "Unexpected data from server"


class Upstream:
    """One connection, for one exchange at a time.

    Args:
        engine: writes to the connection and closes it.
        conn: mitmproxy's record of it.
        stack: the TLS layer with a tap below it; None for plain TCP.
    """

    def __init__(self, engine: Engine, conn: Server, stack: Any = None) -> None:
        self.conn = conn
        self.stack = stack
        self.exchange: Exchange | None = None
        self.closed = False
        self.made = False
        """Whether it can be written to; it is open earlier, during the TLS handshake."""
        self._engine = engine
        self._buffer = b""
        self._begun = heads.Begun()
        self._turns = Turns(engine.addon.slots, engine.wake_up)
        self._paused = False
        """Whether reading is paused until the buffered bytes are processed."""
        self._ended = False
        self._reader: Reader | None = None
        self._method = b""
        self._chunked = False
        self._asked = False
        """Whether the whole request was sent."""
        self.heard = False
        """Whether any bytes of the answer have arrived."""
        self._keep = False
        """Whether the connection can be reused after this answer."""

    @property
    def idle(self) -> bool:
        """Whether the next request may use it."""
        free = self.made and self.exchange is None and not self.closed
        return free and self.conn.state is ConnectionState.OPEN

    def begin(
        self, exchange: Exchange, request: http.Request, content: bytes, *, whole: bool
    ) -> None:
        """Send the head of a request, and its body if `whole`."""
        self.exchange = exchange
        self._reader, self._asked, self.heard = None, whole, False
        data = request.data
        fields = read(data.headers.fields)
        self._chunked = b"chunked" in fields.get(b"transfer-encoding", b"").lower()
        self._method = data.method
        version = b"HTTP/1.0" if data.http_version == b"HTTP/1.0" else b"HTTP/1.1"
        line = b"%s %s %s" % (data.method, target(request), version)
        head = heads.write(line, pairs_of(request, exchange.state.authorization))
        if self._chunked and whole:
            content = chunk(content) + LAST_CHUNK if content else LAST_CHUNK
        self.write(head + content)

    def send(self, data: bytes) -> None:
        """Send a part of a body."""
        if self._chunked:
            data = chunk(data)
        self.write(data)

    def finish(self) -> None:
        """End the request's body."""
        if self._chunked:
            self.write(LAST_CHUNK)
        self._asked = True

    def release(self, exchange: Exchange) -> None:
        """End the exchange; keep the connection if it can be reused."""
        if self.exchange is not exchange:
            return
        self.exchange = None
        if not (self._keep and self._asked and self._engine.reuses):
            self.close()

    def close(self) -> None:
        """Close the connection, even in the middle of a message."""
        self.exchange = None
        if not self.closed:
            self.closed = True
            self._pace(False)
            self._engine.close(self.conn)

    def received(self, data: bytes) -> None:
        """Take bytes from the registry."""
        if self.exchange is None:
            self._engine.log(UNASKED)
            self.close()
            return
        self.heard = True
        if self._begun.data:
            if (whole := self._begun.more(data, self._engine.addon.limits().response_head)) is None:
                return
            data = whole
        self._buffer = self._buffer + data if self._buffer else data
        self.read_on()

    def read_on(self) -> None:
        """Read the buffered bytes for one turn."""
        if not (turns := self._turns).resting:
            turns.begin()
            before = self._reader
            try:
                while self._buffer and (exchange := self.exchange) and self._step(exchange):
                    # Process a head and the bytes after it together, even on a slow machine.
                    if self._reader is before and turns.is_over:
                        turns.rest(self.read_on)
                        break
                    before = self._reader
            except BrokenError as error:
                self._fail(f"protocol error: {error}")
            if self._ended and not turns.resting:
                self._end()
        self._pace(turns.resting and bool(self._buffer) and not self.closed)

    def _pace(self, full: bool) -> None:
        if full != self._paused:
            self._paused = full
            self._engine.addon.pace(self._engine.context.client, self.conn, not full)

    def ended(self) -> None:
        """The registry has closed the connection."""
        self._keep = False
        self._ended = True
        if not self._turns.resting:
            self._end()

    def _end(self) -> None:
        exchange, reader = self.exchange, self._reader
        if exchange is None:
            self.close()
        elif reader is None:
            self._fail("server closed connection")
        else:
            try:
                reader.end()
            except BrokenError as error:
                self._fail(str(error))
                return
            answering.end(exchange, by_end=True)
            self.close()

    def take_rest(self) -> bytes:
        """Remove and return the bytes after the last answer."""
        rest, self._buffer = self._buffer, b""
        return rest

    def _step(self, exchange: Exchange) -> bool:
        """Read a head or a part of a body; return whether there may be more to read.

        Raises:
            BrokenError: they are malformed.
        """
        if self._reader is None:
            return self._read_head(exchange)
        if self._reader.done:
            self._keep = False  # Bytes after an answer belong to no request.
            return False
        data = self._reader.feed(self._buffer)
        progress = len(self._reader.rest) < len(self._buffer)
        self._buffer = self._reader.rest
        if data:
            answering.part(exchange, data)
        if self._reader.done:
            self._complete()
        else:
            return progress and bool(self._buffer)
        return False

    def _complete(self) -> None:
        if (exchange := self.exchange) is None:
            return  # An earlier step has ended it.
        if self._buffer:
            # These bytes belong to no request; the next answer could go to the wrong one.
            self._engine.log(UNASKED)
            self._keep = False
        answering.end(exchange)

    def _read_head(self, exchange: Exchange) -> bool:
        if end := framing.interim_end(self._buffer):
            self._buffer = self._buffer[end:]
            return True
        end = heads.end(self._buffer)
        limit = self._engine.addon.limits().response_head
        if (end or len(self._buffer)) > limit:
            self._fail("the head of the response is too large")
            return False
        if end is None:
            self._begun.begin(self._buffer)
            self._buffer = b""
            return False
        head = heads.read_response(self._buffer[:end])
        self._buffer = self._buffer[end:]
        self._reader = reader_of(self._method, head)
        self._keep = not (
            heads.closes(head.version, head.fields) or isinstance(self._reader, UntilEnd)
        )
        response = messages.response(
            head.pairs,
            version=head.version,
            status=head.status,
            reason=head.reason,
            timestamp=time.time(),
        )
        done = self._reader.done
        answering.head(exchange, response, ended=done)
        if done:
            self._complete()
            return False
        return True

    def _fail(self, message: str) -> None:
        exchange = self.exchange
        self.close()
        if exchange is not None:
            to_registry.failed(exchange, message)

    def write(self, data: bytes) -> None:
        """Write bytes that are framed already."""
        if not self.closed:
            self._engine.write(self, data)
