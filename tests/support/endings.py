"""A client's connection that may end in any way; checks that the engine's counts stay right."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import Any

import h2.config
import h2.connection
import h2.exceptions
import h2.settings
from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._hooks import HttpRequestHeadersHook

from addon.engine.exchange import Answered, Exchange
from addon.engine.front import SilentBodies
from addon.engine.layer import Engine
from addon.engine.turns import Slots
from addon.hooks.in_flight import InFlight
from addon.routing import flow_state

from .permissive import Permissive
from .plays import Play
from .sans_io import SOON, World
from .websocket import ASKING, KEY, SWITCH

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
ANSWERS = [
    *[HEAD + b"abcdef"] * 6,
    *(HEAD, b"abc", HEAD + b"abc", b"HTTP/1.1 2", SWITCH, SWITCH + b"\x81\x01x"),
    *(b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nabc", b"\x81\x01x", b"\x88\0"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    + b"1\r\nx\r\n" * 200
    + b"0\r\n\r\n",
]
"""Bytes from a registry: whole answers and parts."""
HTTP1 = [
    *[b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"] * 3,
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3,
    *[b"GET / HTTP/1.1\r\nHost: a\r\n" + ASKING.encode() + b"\r\n"] * 3,
    *(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n", b"abc", b"abcdef", b"\r\n"),
    b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    *(b"0\r\n\r\n", b"\x81\x81\0\0\0\0x" * 20, b"\x88\x80\0\0\0\0"),
]
"""Bytes from an HTTP/1 client."""
FIELDS = [(":method", "PUT"), (":scheme", "https"), (":authority", "a"), (":path", "/")]
STREAMS = 6
"""The most requests on an HTTP/2 connection."""


class Counting(Permissive):
    """Counts requests and held bytes as the real addon does.

    Args:
        limit: how many bytes may be held.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.slots = Slots(0)
        self.in_flight = InFlight()
        self.limit = limit
        self.late: list[Any] = []
        self.paused: Counter[Any] = Counter()
        """For each connection, how many pauses of reading were not resumed."""
        self.fails = False
        """Whether the next call raises an exception."""
        self.has_failed = False
        self.waits = 0.0

    def over(self, flow: Any) -> None:
        """See `Addon`."""
        self.in_flight.end(flow.id, None)

    def hold(self, flow: Any, more: int) -> bool:
        """See `Addon`."""
        if flow.id not in self.in_flight:
            self.late.append(flow)
        return self.in_flight.hold(flow.id, more, self.limit)

    def hold_head(self, _client: Any, _size: int) -> bool:
        """Always."""
        return True

    def refuse_to_hold(self, flow: Any) -> None:
        """See `Addon`."""
        flow.response = http.Response.make(503)

    def may_go(self, _flow: Any) -> bool:
        """See `Addon`."""
        if self.fails:
            self.fails, self.has_failed = False, True
            raise RuntimeError
        return True

    def is_draining(self) -> bool:
        """See `Addon`."""
        return not self.may_go(None)

    def waited(self, _client: Any) -> float:
        """See `Addon`."""
        return self.waits

    def pace(self, _client: Any, connection: Any, wanted: bool) -> None:
        """See `Addon`."""
        self.paused[connection] += -1 if wanted else 1


class Scene:
    """A client's connection to an engine, with its upstreams and pending events.

    Args:
        http2: whether the client speaks HTTP/2.
        limit: how many bytes may be held.
        stream: whether bodies of requests and of answers are streamed.
    """

    def __init__(self, *, http2: bool, limit: int, stream: tuple[bool, bool]) -> None:
        world = World(lambda context, addon: Engine(context, addon), Play((), ()))
        self.client = world.client
        self.client.alpn = b"h2" if http2 else b"http/1.1"
        self.addon = Counting(limit)
        context: Context = world.layer.context
        context.layers.clear()
        self.engine = Engine(context, self.addon)
        self.servers: list[Any] = []
        self.waiting: list[events.Event] = []
        """Pending events: completed hooks and connection attempts, wakeups, closes."""
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration()) if http2 else None
        self._next = 1
        self._refuses = False
        self._stream = stream
        self.flows: list[http.HTTPFlow] = []
        """All flows, in the order of their beginning."""
        begin, window = b"", 2 if limit < 100 else 100
        if self._h2 is not None:
            self._h2.initiate_connection()
            self._h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
            begin = self._h2.data_to_send()
        self._give(events.Start())
        self.send(begin)

    def step(self, kind: str, number: int) -> None:
        """Make something happen, if it is possible now.

        Args:
            kind: what happens.
            number: selects among the possible cases.
        """
        server = self.servers[number % len(self.servers)] if self.servers else None
        if kind == "client":
            self._say(number)
        elif kind == "server" and server:
            if server.state & ConnectionState.CAN_READ:
                switches = "upgrade" in self.flows[-1].request.headers and number % 3
                said = SWITCH if switches else ANSWERS[number % len(ANSWERS)]
                self._give(events.DataReceived(server, said))
        elif kind == "server ends" and server:
            self._end(server, ConnectionState.CAN_WRITE)
        elif kind == "go on" and self.waiting:
            self._give(self.waiting.pop(number % len(self.waiting)))
        elif kind == "refuse":
            self._refuses = True
        elif kind == "kill" and self.flows:
            if (flow := self.flows[number % len(self.flows)]).killable:
                flow.kill()
        elif kind == "silence":
            self.addon.waits = 100
            self._give(SilentBodies(0))
        elif kind == "fail":
            self.addon.fails = True
        elif kind == "client ends":
            self.leave(half=bool(number % 2) and self._h2 is None)

    def send(self, data: bytes) -> None:
        """Send bytes as the client, if its connection is open."""
        if data and self.client.state & ConnectionState.CAN_READ:
            self._give(events.DataReceived(self.client, data))

    def go_on(self) -> None:
        """Deliver all pending events."""
        while self.waiting:
            self._give(self.waiting.pop(0))

    def leave(self, *, half: bool = False) -> None:
        """Close the client's connection and all to upstreams, or only shut down its side."""
        self._end(self.client, ConnectionState.CAN_WRITE if half else ConnectionState.CLOSED)
        if not half:
            # A client that had shut down its side causes no further event.
            self.client.state = ConnectionState.CLOSED
            self.client.timestamp_end = time.time()
            for server in self.servers:
                self._end(server, ConnectionState.CLOSED)
            opening = [e for e in self.waiting if isinstance(e, events.OpenConnectionCompleted)]
            for event in opening[1:]:
                self.waiting.remove(event)  # mitmproxy attempts some at once, and drops the rest.

    def _say(self, number: int) -> None:
        if self._h2 is None:
            self.send(HTTP1[number % len(HTTP1)])
            return
        what, stream = number % 10, 2 * (number // 10 % STREAMS) + 1
        # There may be no such stream.
        with contextlib.suppress(h2.exceptions.ProtocolError, KeyError):
            if what <= 5 and self._next < 2 * STREAMS:
                self._h2.send_headers(self._next, FIELDS, end_stream=what <= 2)
                self._next += 2
            elif what in (6, 7):
                self._h2.send_data(stream, b"abcdef", end_stream=what == 7)
            elif what == 8:
                self._h2.reset_stream(stream)
            else:
                self._h2.increment_flow_control_window(4, stream)
                for _ in range(20):
                    self._h2.ping(bytes(8))
        self.send(self._h2.data_to_send())

    def _end(self, connection: Any, state: ConnectionState) -> None:
        if connection.state & ConnectionState.CAN_READ:
            connection.state &= state
            self._give(events.ConnectionClosed(connection))

    def _give(self, event: events.Event) -> None:
        hook: Any = event.command if isinstance(event, events.HookCompleted) else None
        if hook is not None and hook.name == "requestheaders":
            # An addon may count a request only at the end of the hook.
            self.addon.in_flight.begin(hook.flow.id)
        if isinstance(event, events.OpenConnectionCompleted) and event.reply is None:
            if self.client.state is ConnectionState.CLOSED:
                event.reply = "connection cancelled"  # As mitmproxy does.
                self._give(event)
                return
            event.command.connection.state = ConnectionState.OPEN
            self.servers.append(event.command.connection)
        for command in [*self.engine.handle_event(event)]:
            self._take(command)
        assert self.addon.has_failed or not self.engine._failed
        for exchange in self.engine.front.exchanges() if hasattr(self.engine, "front") else []:
            self._check(exchange)

    def _check(self, exchange: Exchange) -> None:
        """Check that the bytes counted for a request are those that it holds."""
        counted = exchange.counted
        # A client that has gone no longer counts, even during a call of the addon.
        if exchange.is_open and exchange.gone is None and not self.engine._failed:
            assert self.addon.in_flight._served.get(exchange.flow.id, 0) == counted
        if exchange.answered in (Answered.NOT_YET, Answered.AWAITED, Answered.STREAMED):
            assert counted <= exchange.held + len(exchange.answer)

    def _take(self, command: Any) -> None:
        if isinstance(command, commands.RequestWakeup):
            if command.delay <= SOON and self.client.state is not ConnectionState.CLOSED:
                self.waiting.append(events.Wakeup(command))
        elif isinstance(command, commands.OpenConnection):
            error = "no connection" if self._refuses else None
            self._refuses = False
            self.waiting.append(events.OpenConnectionCompleted(command, error))
        elif isinstance(command, commands.CloseConnection):
            self._close(command.connection)
        elif isinstance(command, commands.StartHook):
            self._hook(command)
        elif isinstance(command, commands.SendData) and command.connection is self.client:
            self._hear(command.data)

    def _hear(self, data: bytes) -> None:
        if self._h2 is not None:
            with contextlib.suppress(h2.exceptions.ProtocolError):
                self._h2.receive_data(data)

    def _close(self, connection: Any) -> None:
        was_open = connection.state & ConnectionState.CAN_READ
        connection.state = ConnectionState.CLOSED
        if was_open:
            self.waiting.append(events.ConnectionClosed(connection))

    def _hook(self, hook: Any) -> None:
        flow = hook.flow
        if isinstance(hook, HttpRequestHeadersHook):
            self.flows.append(flow)
            flow.request.stream = self._stream[0]
            if "upgrade" in flow.request.headers:
                flow_state.of(flow).websocket_key = KEY.encode()
        elif hook.name == "responseheaders":
            flow.response.stream = self._stream[1]
        if hook.blocking:
            self.waiting.append(events.HookCompleted(hook))
