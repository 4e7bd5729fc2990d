"""A WebSocket, whose bytes go to mitmproxy's own layer a few frames at a time.

That layer reads all received bytes at once, up to 256 KiB, and runs a hook for each message. Here
it gets a few frames at a time, and the end of a hook only in its turn. It collects a message until
its end, so a message counts as held, and one for which there is no room ends the WebSocket.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.websocket import WebsocketEndHook, WebsocketLayer
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection

from .back import Back
from .exchange import UNCOUNTED
from .frames import Frames, websocket_length
from .turns import Turns
from .websocket_parts import Parts

if TYPE_CHECKING:
    from .layer import Engine


ABNORMAL = 1006
"""The close code for an end without a close frame (RFC 6455, section 7.4.1)."""

TOO_BIG = 1009
"""The close code for a message that is too big to process."""

AT_ONCE = 16 * 1024
"""Bytes that mitmproxy's layer gets at once; decompressed, they can be a thousand times as many."""

NO_ROOM = "no room in memory for a WebSocket message (limits.held)"


def begins(flow: http.HTTPFlow) -> bool:
    """Return whether the answer of a flow begins a WebSocket (RFC 6455)."""
    response = flow.response
    return (
        response is not None
        and response.data.status_code == 101
        and response.headers.get("upgrade", "").lower() == "websocket"
        and flow.request.headers.get("sec-websocket-version", "") == "13"
    )


def begin(engine: Engine, flow: http.HTTPFlow, upstream: Back, rest: bytes) -> None:
    """Hand a client's connection and its registry's over to mitmproxy's own layer.

    Args:
        engine: passes all further events of both to the WebSocket.
        flow: the flow, with the handshake.
        upstream: the connection to the registry.
        rest: the bytes that have come after the request.
    """
    engine.websocket = websocket = WebSocket(engine, flow, upstream)
    client = engine.context.client
    for conn, data in ((client, rest), (upstream.conn, upstream.take_rest())):
        if data:
            websocket.take(events.DataReceived(conn, data))
    for conn in (client, upstream.conn):
        if not conn.state & ConnectionState.CAN_READ:
            # The event came before the handover, so the WebSocket has not seen it.
            websocket.take(events.ConnectionClosed(conn))


class WebSocket:
    """See the head of this file.

    Args:
        engine: runs hooks, and writes.
        flow: the flow, with the handshake.
        upstream: the connection to the registry.
    """

    def __init__(self, engine: Engine, flow: http.HTTPFlow, upstream: Back) -> None:
        context = engine.context.fork()
        context.server = upstream.conn
        self.flow = flow
        self._engine = engine
        self._upstream = upstream
        self._layer = WebsocketLayer(context, flow)
        self._client = engine.context.client
        both: tuple[Any, ...] = (self._client, upstream.conn)
        self._frames = {conn: Frames(websocket_length) for conn in both}
        self._parts: list[Parts] = []
        """The messages that have not ended, of both sides."""
        self._counted = 0
        """Bytes of messages that the addon has counted."""
        self._ended = False
        """Whether the engine has ended the WebSocket itself."""
        self._rest: dict[Any, bytes] = {}
        """An incomplete head of a frame, by connection."""
        self._events: deque[events.Event] = deque([events.Start()])
        self._received: tuple[Any, bytes, int] | None = None
        """A connection, bytes received on it, and how many of these the layer has got."""
        self._hook = False
        """Whether the layer waits for the end of a hook."""
        self._reply: Any = None
        """The end of the hook, if it has to wait for its turn."""
        self._turns = Turns(engine.addon.slots, engine.wake_up)
        self._paused = False
        self._go_on()

    def take(self, event: events.Event) -> None:
        """Take an event of one of the connections."""
        if self._is_end(event):
            # Do not wait for turns: mitmproxy runs no wakeups after the client has gone.
            self._turns.resting = False
            if self._reply is not None:
                self._go_on()
            self._events.clear()
            self._received = None
        self._events.append(event)
        if self._turns.resting:
            self._pace(full=True)
        else:
            self._go_on()

    def give_up(self) -> None:
        """End the WebSocket after an exception in the engine."""
        self._end(ABNORMAL)

    def _end(self, code: int) -> None:
        """End the WebSocket without mitmproxy's layer."""
        self._ended = True
        flow, data = self.flow, self.flow.websocket
        if data is not None and data.timestamp_end is None:
            data.timestamp_end = time.time()
            data.closed_by_client, data.close_code = False, code
            flow.live = False
            self._engine.hook(WebsocketEndHook, flow, lambda: None)
        self._engine.addon.over(flow)

    def _refuse_message(self) -> None:
        """Close both connections, with a close frame."""
        engine = self._engine
        engine.addon.was_cut(self.flow, NO_ROOM)
        close = CloseConnection(code=TOO_BIG)
        engine.write_client(Connection(ConnectionType.SERVER).send(close))
        self._upstream.write(Connection(ConnectionType.CLIENT).send(close))
        engine.close(self._client)
        self._upstream.close()
        self._end(TOO_BIG)

    def _is_end(self, event: events.Event) -> bool:
        # A client that had shut down its side causes no second event: the registry's end counts.
        return isinstance(event, events.ConnectionClosed) and self._is_gone

    @property
    def _is_gone(self) -> bool:
        return self._client.state is ConnectionState.CLOSED

    def _completed(self, reply: Any) -> None:
        """Take the end of a hook, in this turn or the next."""
        self._reply = reply
        if self._turns.is_over and not self._is_gone:
            self._turns.rest(self._go_on)
        else:
            self._go_on(new=False)

    def _go_on(self, *, new: bool = True) -> None:
        if new:
            self._turns.begin()
        if (reply := self._reply) is not None:
            self._hook, self._reply = False, None
            self._feed(reply)
        while self._waits and not self._hook:
            if (event := self._next()) is not None:
                self._feed(event)
            if self._waits and not self._hook and self._turns.is_over and not self._is_gone:
                self._turns.rest(self._go_on)
                break
        self._pace(full=self._waits)

    @property
    def _waits(self) -> bool:
        """Whether there is more input for the layer."""
        return bool(self._events) or self._received is not None

    def _next(self) -> events.Event | None:
        """Return the next event, with at most a few frames; None for an incomplete head."""
        if self._received is None:
            event = self._events.popleft()
            if not isinstance(event, events.DataReceived):
                return event
            data = self._rest.pop(event.connection, b"") + event.data
            self._received = event.connection, data, 0
        conn, data, at = self._received
        end = at + self._frames[conn].portion(data[at : at + AT_ONCE])
        self._received = (conn, data, end) if at < end < len(data) else None
        if end == at:
            self._rest[conn] = data[at:]
            return None
        return events.DataReceived(conn, data[at:end])

    def _feed(self, event: events.Event) -> None:
        if self._ended:
            return
        for command in self._layer.handle_event(event):
            self._pass(command)
        flow = self.flow
        if flow.websocket and not self._engine.addon.keeps_messages():
            # A hook reads the last one.
            del flow.websocket.messages[: -1 if self._hook else None]
        ends = isinstance(event, events.ConnectionClosed) and event.connection is self._client
        if ends or (flow.websocket and flow.websocket.timestamp_end):
            self._engine.addon.over(flow)
        elif not self._is_room():
            self._refuse_message()

    def _is_room(self) -> bool:
        """Return whether there is room in memory for the messages that have not ended."""
        if not self._parts:
            self._parts = [Parts(self._layer.client_ws), Parts(self._layer.server_ws)]
        size = sum(parts.size() for parts in self._parts)
        more = (size if size > UNCOUNTED else 0) - self._counted
        if more and not self._engine.addon.hold(self.flow, more):
            return False
        self._counted += more
        return True

    def _pass(self, command: commands.Command) -> None:
        if command.blocking:
            self._hook = True
            self._engine.order(command, self._completed)
        elif isinstance(command, commands.SendData) and command.connection is self._upstream.conn:
            self._upstream.write(command.data)
        else:
            self._engine.order(command)

    def _pace(self, *, full: bool) -> None:
        """Stop reading while queued events have to wait."""
        if full != self._paused:
            self._paused = full
            for conn in self._frames:
                self._engine.addon.pace(self._client, conn, not full)
