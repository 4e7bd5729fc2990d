"""The engine: the layer that serves HTTP in reverse mode, in place of mitmproxy's `HttpLayer`.

An addon chooses in the hook `next_layer` which layer serves a connection
(https://docs.mitmproxy.org/stable/api/events.html). An engine belongs to one client: it takes
events (bytes, ends, completed hooks) and returns a list of commands (write, open, close, run a
hook). It does no I/O itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.net.http import url
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.tunnel import TunnelLayer

from .exchange import Exchange
from .failures import described, is_of_connection, report
from .front import GiveWay, SilentBodies, UntakenAnswers
from .front_http1 import Http1Front
from .front_http2 import Http2Front
from .interface import Addon
from .registries import Registries
from .sizes import Sizes
from .upstream import Upstream
from .websocket import WebSocket

logger = logging.getLogger(__name__)


class Engine(layer.Layer):
    """See the head of this file.

    Args:
        context: mitmproxy's context of the connection.
        addon: the addon that the engine calls.
    """

    def __init__(self, context: Context, addon: Addon) -> None:
        # No super().__init__(): its queue for paused events is unused here, and takes 760 bytes.
        self.context = context
        context.layers.append(self)
        self.addon = addon
        self._top = addon.top_layer(context.client)
        self._dispatcher = self._top.dispatcher if self._top is not None else None
        self.front: Http1Front | Http2Front
        self._out: list[commands.Command] = []
        self.registries = Registries(self)
        self._upstreams = self.registries.open_ones
        self._replies: dict[Any, Callable[[Any], None]] = {}
        """Functions that take the replies to commands."""
        self.websocket: WebSocket | None = None
        """The WebSocket that the connection has become, if it has."""
        self._failed = False
        """Whether an exception has ended all exchanges of this client."""
        options = context.options
        self.validate = bool(options.validate_inbound_headers)
        # mitmproxy 11 has no such option.
        self.store_streamed = bool(getattr(options, "store_streamed_bodies", False))
        self.sizes = Sizes(options.body_size_limit, options.stream_large_bodies)
        # Like mitmproxy, open a connection for each request of an HTTP/2 client: concurrent
        # requests would often meet a connection that the registry is about to close.
        self.reuses = context.client.alpn != b"h2"
        self.address = context.server.address or ("", 0)
        self.scheme = b"https" if context.server.tls else b"http"
        self.host_header: bytes | None = None
        """The registry's name, for requests; None if they keep the client's."""
        if not options.keep_host_header:
            name = url.hostport(self.scheme.decode(), self.address[0], self.address[1])
            self.host_header = name.encode("idna" if not name.isascii() else "ascii")

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        raise NotImplementedError  # `handle_event` does not call it.

    def handle_event(self, event: events.Event) -> Any:
        """Take an event, and return commands."""
        out: list[commands.Command] = []
        self._out = out
        if not self._failed:
            try:
                self._take(event)
            except Exception as error:
                self._fail(error)
        self._out = []  # Otherwise the last commands keep ended connections alive.
        return out

    def _take(self, event: events.Event) -> None:
        if isinstance(event, events.CommandCompleted):
            if (then := self._replies.pop(event.command, None)) is not None:
                then(event)
        elif isinstance(event, events.ConnectionEvent):
            self._on_connection(event)
        elif isinstance(event, events.Start):
            http2 = self.context.client.alpn == b"h2"
            self.front = Http2Front(self) if http2 else Http1Front(self)
            tunnels = any(isinstance(one, TunnelLayer) for one in self.context.layers)
            if self._top is not None and not tunnels:
                self._top.hand_down_to(self)
        elif isinstance(event, SilentBodies):
            self.front.end_silent(event.seconds, self.addon.waited(self.context.client))
        elif isinstance(event, UntakenAnswers) and isinstance(self.front, Http2Front):
            self.front.end_untaken(event.seconds)
        elif isinstance(event, GiveWay):
            if not self.at_work:
                self.front.give_way()
        elif isinstance(event, events.MessageInjected) and self.websocket is not None:
            self.websocket.take(event)

    def _fail(self, error: Exception) -> None:
        """End all exchanges: after an exception in the engine, its state cannot be trusted."""
        self._failed = True
        # The message, and the values in a traceback, may contain a client's data.
        self.log(f"internal error, the connection is closed: {described(error)}", logging.ERROR)
        for exchange in self._exchanges():
            if exchange.is_open and exchange.flow.response is not None:
                # Otherwise the end of the connection could mark the end of the answer.
                self.addon.reset(self.context.client)
            report(exchange)
        if self.websocket is not None:
            self.websocket.give_up()
        for conn in (*self._upstreams, self.context.client):
            self.close(conn)

    def ends_alone(self, exchange: Exchange, error: Exception) -> bool:
        """Reset one HTTP/2 stream after an exception, if no other stream is affected.

        Others are affected if the exception is from code of the connection: hyper-h2 may have
        changed state that both sides share, such as the header table (RFC 7541, section 2.3.2).

        Returns:
            False if all exchanges of the client have to end.
        """
        if not isinstance(self.front, Http2Front) or is_of_connection(error):
            return False
        self.log(f"internal error, the stream is reset: {described(error)}", logging.ERROR)
        report(exchange)
        exchange.give_up()
        self.front.abort(exchange.key)
        return True

    def _exchanges(self) -> list[Exchange]:
        begun = self.front.exchanges() if self.has_begun else []
        return [exchange for exchange in begun if hasattr(exchange, "flow")]

    @property
    def has_begun(self) -> bool:
        """Whether the client's protocol is known: its TLS handshake, if any, is complete."""
        return hasattr(self, "front")

    @property
    def at_work(self) -> bool:
        """Whether a request or a WebSocket of the client is in progress."""
        return not self._failed and (self.websocket is not None or self.front.at_work)

    def flows(self) -> list[http.HTTPFlow]:
        """Return the flows in flight."""
        return [] if self._failed else [exchange.flow for exchange in self._exchanges()]

    def _on_connection(self, event: events.ConnectionEvent) -> None:
        upstream = self._upstreams.get(event.connection)
        if upstream is not None and upstream.stack is not None:
            self.registries.feed(upstream, event)
        elif self.websocket is not None:
            self.websocket.take(event)
        elif event.connection is self.context.client:
            if isinstance(event, events.DataReceived):
                self.front.received(event.data)
            else:
                self.front.ended()
        elif upstream is not None:
            self.registries.take(upstream, event)

    # Hooks, and time.

    def hook(
        self, kind: Any, flow: http.HTTPFlow, later: Callable[..., None], *values: Any
    ) -> bool:
        """Run a hook.

        Args:
            kind: the hook's class.
            flow: its argument.
            later: called when the hook is complete, if it has to wait.
            values: its arguments.

        Returns:
            Whether the hook is complete already.
        """
        if (dispatcher := self._dispatcher) is not None:
            rest = dispatcher.call(kind.name, flow)
            if rest is None:
                return True
            hook = kind(flow)
            dispatcher.begun[hook] = rest  # It continues in a task.
        else:
            hook = kind(flow)
        hook.blocking = self
        self._replies[hook] = lambda _: later(*values)
        self._out.append(hook)
        return False

    def wake_up(self, seconds: float, then: Callable[[], None]) -> None:
        """Call a function after some seconds."""
        command = commands.RequestWakeup(seconds)
        self._replies[command] = lambda _: then()
        self._out.append(command)

    def log(self, message: str, level: int = logging.INFO) -> None:
        """Log a message about the connection; it must not contain text of a peer."""
        logger.log(level, "%s", message, extra={"client": self.context.client.peername})

    # Connections.

    def write_client(self, data: bytes) -> None:
        """Write to the client."""
        self._out.append(commands.SendData(self.context.client, data))

    def write(self, upstream: Upstream, data: bytes) -> None:
        """Write to a registry."""
        if upstream.stack is not None:
            self.registries.write(upstream, data)
        else:
            self._out.append(commands.SendData(upstream.conn, data))

    def close(self, connection: Any) -> None:
        """Close a connection."""
        if connection.state is not ConnectionState.CLOSED:
            self._out.append(commands.CloseConnection(connection))

    def order(self, command: Any, then: Callable[[Any], None] | None = None) -> None:
        """Give a command to mitmproxy, perhaps one of another layer.

        Args:
            command: the command.
            then: takes the reply, if there is one to wait for.
        """
        if then is not None:
            command.blocking = self
            self._replies[command] = then
        self._out.append(command)
