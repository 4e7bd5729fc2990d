"""A client's HTTP/2 connection, using hyper-h2: many exchanges at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from mitmproxy import http
from mitmproxy.net.http import url

from . import asking, endings, messages
from .allowance import Allowance
from .exchange import Exchange
from .frames import HTTP2_PREFACE, Frames, http2_length
from .front import STOPPED_READING
from .head_times import HeadTimes
from .turns import Turns
from .uploads import Uploads

if TYPE_CHECKING:
    from .layer import Engine

BACKLOG = 256 * 1024
"""With more bytes of an answer waiting for the client, pause reading the answer."""
RESETS, RESETS_PER_SECOND = 200, 100
"""How many unanswered requests a client may reset: a burst, and a rate per second (the rate is the
limit of concurrent streams). A client that resets all requests causes much work and waits for no
answer (CVE-2023-44487)."""
_NO_HEADER = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"te", b"host", b"transfer-encoding")
)
"""Fields that belong to HTTP/1 (RFC 9113, section 8.2.2)."""


class _Stream:
    """An exchange, and the part of its answer that waits for room in the client's window."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.waiting: deque[bytes] = deque()
        self.size = 0
        self.complete = False
        """Whether the waiting bytes are the last ones of the answer."""
        self.held = False
        """Whether reading from its upstream is paused."""
        self.whole = False
        """Whether the request is complete."""
        self.heard = time.monotonic()
        """When a part of the request's body last arrived."""
        self.taken = self.heard
        """When the client last had room for a part of the answer, or nothing was waiting."""
        self.bodiless = False
        """Whether the answer has only a head."""


class Http2Front:
    """See `front.Front`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._conn = engine.context.client
        self._buffer = b""
        self._streams: dict[int, _Stream] = {}
        self._taken = 0.0
        """When the client last had room for a part of any answer."""
        self._closed = False
        self._heads = HeadTimes(engine.wake_up, self._head_seconds, self._late)
        self._frames = Frames(http2_length, HTTP2_PREFACE)
        self._turns = Turns(engine.addon.slots, engine.wake_up)
        self._resets = Allowance(RESETS, RESETS_PER_SECOND)
        self._held: list[Callable[[], None]] = []
        """Functions to call after the next bytes are read."""
        self._reading = False
        self._paused = False
        """Whether reading from the client is paused."""
        config = h2.config.H2Configuration(
            client_side=False,
            header_encoding=False,
            validate_inbound_headers=bool(engine.context.options.validate_inbound_headers),
        )
        self._h2 = h2.connection.H2Connection(config)
        self._h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 0,
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 100,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: engine.addon.request_head_limit(),
            },
        )
        self._uploads = Uploads(self._h2, self._has_room, engine.wake_up, self._flush)
        self._h2.initiate_connection()
        self._flush()

    @property
    def at_work(self) -> bool:
        """Whether a request is in progress, or has begun to arrive."""
        return bool(self._streams or self._turns.resting or self._heads.begun)

    def exchanges(self) -> list[Exchange]:
        """Return the exchanges in progress."""
        return [stream.exchange for stream in self._streams.values()]

    # Input from the client.

    def received(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._heads.received(data)
        self._buffer = self._buffer + data if self._buffer else data
        self.read_on()

    def _head_seconds(self) -> float:
        return self._engine.addon.head_time(self._conn)

    def _late(self) -> None:
        if not self._closed:
            self._engine.log("the head of an HTTP/2 request was not complete in time")
            self._h2.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
            self._end_all("The request head did not arrive in time.")
            self._flush()
            self._close()

    def read_on(self) -> None:
        """Read the buffered bytes for one turn."""
        if self._closed or self._reading:
            return
        if not self._turns.resting:
            self._read()
        self._pace_client(self._turns.resting and bool(self._buffer))

    def _read(self) -> None:
        self._reading = True
        self._turns.begin()
        try:
            while not self._closed and (end := self._frames.portion(self._buffer)):
                portion, self._buffer = self._buffer[:end], self._buffer[end:]
                for event in self._h2.receive_data(portion):
                    if not self._closed:
                        self._on_event(event)
                if self._buffer and self._turns.is_over:
                    self._turns.rest(self.read_on)
                    break
        except h2.exceptions.ProtocolError:
            self._reading = False
            self._engine.log("HTTP/2 protocol error")
            self._end_all("HTTP/2 protocol error")
            self._flush()  # The GOAWAY frame with the reason.
            self._close()
            return
        finally:
            self._reading = False
        if any(not stream.whole for stream in self._streams.values()):
            self._engine.addon.await_body(self._conn, self)
        self._flush()

    def _pace_client(self, full: bool) -> None:
        if full != self._paused:
            self._paused = full
            self._engine.addon.pace(self._conn, self._conn, not full)

    def ended(self) -> None:
        """The client has closed its side, or all of the connection."""
        self._close()
        self._end_all("Client disconnected.")

    def silence(self, waited: float) -> float | None:
        """See `Front`."""
        awaited = [stream for stream in self._streams.values() if not stream.whole]
        if self._closed or not awaited:
            return None
        return max(self._silence(stream, waited) for stream in awaited)

    def _silence(self, stream: _Stream, waited: float) -> float:
        now = time.monotonic()
        stopped = self._uploads.is_stopped(stream.exchange.key)
        if not waited or self._turns.resting or stream.exchange.waits or stopped:
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

    def give_way(self) -> None:
        """See `Front`."""
        if not self._closed:
            self._h2.close_connection()
            self._flush()
            self._close()

    def take_rest(self) -> bytes:
        """Return no bytes: HTTP/2 connections do not become WebSockets here."""
        return b""

    def _end_all(self, why: str) -> None:
        for key in [*self._streams]:
            self._gone(key, why)
        for then in [*self._held]:
            self._go_on(then)  # mitmproxy runs no wakeups after the client has gone.

    def _gone(self, key: int, why: str) -> None:
        stream = self._streams.pop(key, None)
        self._uploads.forget(key)
        if stream is not None:
            self._let_go(stream)
            endings.gone(stream.exchange, why)
            self._engine.addon.over(stream.exchange.flow)

    def _reset(self, key: int, why: str) -> None:
        given_up = key in self._streams
        self._gone(key, why)
        if given_up and not self._closed and not self._resets.take(time.monotonic()):
            self._engine.log("an HTTP/2 client has given up too many requests")
            self._h2.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
            self._end_all("too many requests were given up")
            self._engine.write_client(self._h2.data_to_send())
            self._close()

    def _on_event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._begin(event)
        elif isinstance(event, h2.events.DataReceived):
            self._on_data(event.stream_id, event.data, event.flow_controlled_length)
        elif isinstance(event, h2.events.StreamEnded):
            if (stream := self._streams.get(event.stream_id)) is not None:
                stream.whole = True
                self._uploads.forget(event.stream_id)
                asking.end(stream.exchange)
        elif isinstance(event, h2.events.StreamReset):
            self._reset(event.stream_id, f"stream reset by client ({event.error_code})")
        elif isinstance(event, h2.events.WindowUpdated):
            keys = [event.stream_id] if event.stream_id else [*self._streams]
            for key in keys:
                self._send_waiting(key)
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            for key in [*self._streams]:
                self._send_waiting(key)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self._end_all("Client disconnected.")
            self._close()

    def _on_data(self, key: int, data: bytes, size: int) -> None:
        if (stream := self._streams.get(key)) is None:
            if size:  # The request has its answer already.
                self._h2.acknowledge_received_data(size, key)
            return
        if data:
            stream.heard = time.monotonic()
            asking.body(stream.exchange, data)
        if size and key in self._streams:
            self._uploads.received(key, size, stream.exchange)
        elif size:
            self._h2.acknowledge_received_data(size, key)

    def _has_room(self, exchange: Exchange) -> bool:
        upstream = exchange.upstream
        return upstream is None or self._engine.addon.has_room(self._conn, upstream.conn)

    def _begin(self, event: h2.events.RequestReceived) -> None:
        key = event.stream_id
        exchange = Exchange(self._engine, self, key)
        self._streams[key] = _Stream(exchange)
        try:
            request = _request(event.headers)
        except (KeyError, ValueError):
            self._engine.log("Invalid HTTP/2 request headers")
            del self._streams[key]
            self._h2.reset_stream(key, h2.errors.ErrorCodes.PROTOCOL_ERROR)
            return
        self._engine.addon.head_time(self._conn)
        self._heads.watching = True
        asking.begin(
            exchange,
            request,
            host=request.host_header or "",
            ended=event.stream_ended is not None,
            expects="expect" in request.headers,
        )

    # Output to the client.

    def behind_what_is_there(self, then: Callable[[], None]) -> None:
        """See `Front`: the next bytes may reset the stream."""
        self._held.append(then)
        self._engine.wake_up(0, partial(self._let_go_on, then))

    def _let_go_on(self, then: Callable[[], None]) -> None:
        if self._turns.resting:
            self._turns.follow(partial(self._go_on, then))
        else:
            self._go_on(then)

    def _go_on(self, then: Callable[[], None]) -> None:
        if then in self._held:
            self._held.remove(then)
            then()

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
            self._h2.send_headers(key, _fields(response))
            self._flush()

    def data(self, key: int, data: bytes) -> None:
        """See `Front`."""
        stream = self._streams.get(key)
        if stream is None or not data or stream.bodiless:
            return
        if not stream.waiting:
            stream.taken = time.monotonic()
        stream.waiting.append(data)
        stream.size += len(data)
        self._send_waiting(key)
        self._flush()

    def answer(self, key: int, response: http.Response) -> None:
        """See `Front`."""
        self.head(key, response)
        self.data(key, response.raw_content or b"")

    def finish(self, key: int) -> None:
        """See `Front`."""
        if (stream := self._streams.get(key)) is not None:
            stream.complete = True
            self._send_waiting(key)
            self._flush()

    def refuse(self, key: int, response: http.Response) -> None:
        """See `Front`."""
        self.answer(key, response)
        self.finish(key)

    def abort(self, key: int) -> None:
        """See `Front`."""
        stream = self._streams.pop(key, None)
        self._uploads.forget(key)
        if stream is None or self._closed:
            return
        self._let_go(stream)
        self._engine.addon.over(stream.exchange.flow)
        self._h2.reset_stream(key, h2.errors.ErrorCodes.INTERNAL_ERROR)
        self._flush()

    def _send_waiting(self, key: int) -> None:
        """Send as much as the client's window allows."""
        stream = self._streams.get(key)
        if stream is None or self._closed:
            return
        while stream.waiting:
            room = min(self._h2.local_flow_control_window(key), self._h2.max_outbound_frame_size)
            if room <= 0:
                break
            chunk = stream.waiting.popleft()
            if len(chunk) > room:
                stream.waiting.appendleft(chunk[room:])
                chunk = chunk[:room]
            stream.size -= len(chunk)
            last = stream.complete and not stream.waiting
            self._h2.send_data(key, chunk, end_stream=last)
            self._taken = stream.taken = time.monotonic()
            if last:
                self._over(key, stream)
                return
        if stream.complete and not stream.waiting:
            self._h2.end_stream(key)
            self._over(key, stream)
        else:
            self._pace(stream)
            if stream.waiting:
                self._engine.addon.await_window(self._conn, self.untaken)

    def untaken(self) -> float | None:
        """Return for how many seconds a client has had no room for a waiting answer.

        Returns:
            The longest time; None if no answer waits.
        """
        waiting = [stream for stream in self._streams.values() if stream.waiting]
        if self._closed or not waiting:
            return None
        return max(self._untaken(stream) for stream in waiting)

    def _untaken(self, stream: _Stream) -> float:
        taken = stream.taken
        if self._h2.outbound_flow_control_window <= 0:
            # Other streams may have used up the connection's window.
            taken = max(taken, self._taken)
        return time.monotonic() - taken

    def end_untaken(self, seconds: float) -> None:
        """End the answers for which the client has had no room for so long."""
        for key, stream in [*self._streams.items()]:
            if stream.waiting and self._untaken(stream) >= seconds:
                self._engine.addon.was_cut(stream.exchange.flow, STOPPED_READING)
                self._h2.reset_stream(key, h2.errors.ErrorCodes.CANCEL)
                self._gone(key, STOPPED_READING)
        self._flush()

    def _over(self, key: int, stream: _Stream) -> None:
        del self._streams[key]
        if not stream.whole:
            self._uploads.drop(key)
        self._let_go(stream)
        self._engine.addon.over(stream.exchange.flow)

    def _pace(self, stream: _Stream) -> None:
        upstream = stream.exchange.upstream
        full = stream.size > BACKLOG
        if upstream is not None and full != stream.held:
            stream.held = full
            self._engine.addon.pace(self._conn, upstream.conn, not full)

    def _let_go(self, stream: _Stream) -> None:
        upstream = stream.exchange.upstream
        if stream.held and upstream is not None:
            stream.held = False
            self._engine.addon.pace(self._conn, upstream.conn, True)

    def _flush(self) -> None:
        if self._reading:
            return  # The output for a whole portion is written at once.
        if data := self._h2.data_to_send():
            self._engine.write_client(data)

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._pace_client(False)
            self._engine.close(self._conn)


def _request(pairs: Any) -> http.Request:
    """Return mitmproxy's object for a request.

    Raises:
        KeyError: a pseudo header is missing.
        ValueError: a pseudo header is unknown, repeated or out of place, or a value is malformed.
    """
    pseudo: dict[bytes, bytes] = {}
    fields: list[tuple[bytes, bytes]] = []
    for name, value in pairs:
        if name.startswith(b":"):
            if name in pseudo or fields:
                raise ValueError(name)
            pseudo[name] = value
        else:
            fields.append((name, value))
    method, scheme, path = (pseudo.pop(name) for name in (b":method", b":scheme", b":path"))
    authority = pseudo.pop(b":authority", b"")
    if pseudo:
        raise ValueError("an unknown pseudo header")
    host, port = "", 0
    if authority:
        host, named = url.parse_authority(authority, check=True)
        port = named or url.default_port(scheme) or 0
    return messages.request(
        tuple(fields),
        method=method,
        path=path,
        version=b"HTTP/2.0",
        timestamp=time.time(),
        host=host,
        port=port,
        scheme=scheme,
        authority=authority,
    )


def _fields(response: http.Response) -> list[tuple[bytes, bytes]]:
    """Return the HTTP/2 header fields of an answer."""
    return [
        (b":status", b"%d" % response.status_code),
        *(
            (lower, value)
            for name, value in response.headers.fields
            if (lower := name.lower()) not in _NO_HEADER
        ),
    ]
