"""The two connections of a WebSocket, handed over to mitmproxy's own layer frame by frame.

That layer reads at once all that has come, up to 256 KiB, and runs a hook for each message in it.
Here it is given a few frames at a time, and the end of a hook only when it is its turn.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.websocket import WebsocketEndHook, WebsocketLayer

from .frames import Frames, websocket_length
from .turns import Turns

if TYPE_CHECKING:
    from .layer import Engine
    from .upstream import Upstream


ABNORMAL = 1006
"""The code of an end without a close frame (RFC 6455, section 7.4.1)."""


class WebSocket:
    """See the head of this file.

    Args:
        engine: runs hooks, and writes.
        flow: with the handshake.
        upstream: the connection to the registry.
    """

    def __init__(self, engine: Engine, flow: http.HTTPFlow, upstream: Upstream) -> None:
        context = engine.context.fork()
        context.server = upstream.conn
        self.flow = flow
        self._engine = engine
        self._upstream = upstream
        self._layer = WebsocketLayer(context, flow)
        self._client = engine.context.client
        both: tuple[Any, ...] = (self._client, upstream.conn)
        self._frames = {conn: Frames(websocket_length) for conn in both}
        self._rest: dict[Any, bytes] = {}
        """The beginning of the head of a frame."""
        self._events: deque[events.Event] = deque([events.Start()])
        self._hook = False
        """Whether the layer waits for the end of a hook."""
        self._reply: Any = None
        """That end, if it has to wait for its turn."""
        self._turns = Turns(engine.addon.slots, engine.wake_up)
        self._paused = False
        self._go_on()

    def take(self, event: events.Event) -> None:
        """Something has happened."""
        if self._is_end(event):
            # Nothing that waits is waited for: mitmproxy calls nobody for a client that has gone.
            self._turns.resting = False
            if self._reply is not None:
                self._go_on()
            self._events.clear()
        self._events.append(event)
        if not self._turns.resting:
            self._go_on()

    def give_up(self) -> None:
        """End after an exception of ours, of which mitmproxy's layer does not hear."""
        flow, data = self.flow, self.flow.websocket
        if data is not None and data.timestamp_end is None:
            data.timestamp_end = time.time()
            data.closed_by_client, data.close_code = False, ABNORMAL
            flow.live = False
            self._engine.hook(WebsocketEndHook, flow, lambda: None)

    def _is_end(self, event: events.Event) -> bool:
        # One that has shut down its side before is not heard of again: the registry's end tells.
        return isinstance(event, events.ConnectionClosed) and self._is_gone

    @property
    def _is_gone(self) -> bool:
        return self._client.state is ConnectionState.CLOSED

    def _completed(self, reply: Any) -> None:
        """A hook is complete."""
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
        while self._events and not self._hook:
            if (event := self._next()) is not None:
                self._feed(event)
            if self._events and not self._hook and self._turns.is_over and not self._is_gone:
                self._turns.rest(self._go_on)
                break
        self._pace(bool(self._events))

    def _next(self) -> events.Event | None:
        """The next event; of bytes a few frames."""
        event = self._events.popleft()
        if not isinstance(event, events.DataReceived):
            return event
        conn = event.connection
        data = self._rest.pop(conn, b"") + event.data
        if not (end := self._frames[conn].portion(data)):
            self._rest[conn] = data
            return None
        if end < len(data):
            self._events.appendleft(events.DataReceived(conn, data[end:]))
        return events.DataReceived(conn, data[:end])

    def _feed(self, event: events.Event) -> None:
        for command in self._layer.handle_event(event):
            self._pass(command)
        flow = self.flow
        if flow.websocket and not self._engine.addon.keeps_messages():
            del flow.websocket.messages[:-1]
        ends = isinstance(event, events.ConnectionClosed) and event.connection is self._client
        if ends or (flow.websocket and flow.websocket.timestamp_end):
            self._engine.addon.over(flow)

    def _pass(self, command: commands.Command) -> None:
        if command.blocking:
            self._hook = True
            self._engine.order(command, self._completed)
        elif isinstance(command, commands.SendData) and command.connection is self._upstream.conn:
            self._engine.write(self._upstream, command.data)
        else:
            self._engine.order(command)

    def _pace(self, full: bool) -> None:
        """Read no more while what is there already has to wait."""
        if full != self._paused:
            self._paused = full
            for conn in self._frames:
                self._engine.addon.pace(self._client, conn, not full)
