"""A client's connections to registries: finds and opens them, by TLS if need be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from mitmproxy import http
from mitmproxy.connection import Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.tls import ServerTLSLayer

from .tap import Tap, Write
from .upstream import Upstream

if TYPE_CHECKING:
    from .layer import Engine

Made = Callable[[Upstream | None, str], None]
"""Takes a new connection, or None and the error."""


class Registries:
    """The connections of one client.

    Args:
        engine: gives commands to mitmproxy, and takes the events of a WebSocket.
    """

    def __init__(self, engine: Engine) -> None:
        self.open_ones: dict[Any, Upstream] = {}
        """The connections, also those that are being opened, by mitmproxy's records."""
        self._engine = engine
        self._opening: dict[Any, Made] = {}
        """Functions for connections that wait for a TLS handshake."""

    def idle(self, flow: http.HTTPFlow) -> Upstream | None:
        """Return an idle connection for a request, if there is one."""
        wanted = _wanted(flow)
        for upstream in self.open_ones.values():
            conn = upstream.conn
            if upstream.idle and (conn.address, conn.tls, conn.via) == wanted:
                return upstream
        return None

    def open(self, flow: http.HTTPFlow, made: Made) -> None:
        """Open a connection for a request.

        Args:
            flow: the flow, with the target of the connection.
            made: called with the result.
        """
        engine = self._engine
        address, tls, via = _wanted(flow)
        context = engine.context.fork()
        context.server = conn = Server(address=address)
        conn.via = via
        if not tls:
            self.open_ones[conn] = upstream = Upstream(engine, conn)
            engine.order(
                commands.OpenConnection(conn), lambda reply: self._made(upstream, reply, made)
            )
            return
        sni = address[0]
        if address == engine.context.server.address:
            sni = engine.context.server.sni or engine.context.client.sni or sni
        conn.sni = sni
        conn.alpn_offers = (b"http/1.1",)
        stack: Any = ServerTLSLayer(context)
        stack.child_layer = Tap(context)
        self.open_ones[conn] = upstream = Upstream(engine, conn, stack)
        self._opening[conn] = made
        self.feed(upstream, events.Start())

    def feed(self, upstream: Upstream, event: events.Event) -> None:
        """Give an event to the TLS layer of a connection, and handle those that pass it."""
        self._feed(upstream, event)
        self._take_from(upstream)

    def write(self, upstream: Upstream, data: bytes) -> None:
        """Write through the TLS layer of a connection."""
        self._feed(upstream, Write(data))

    def take(self, upstream: Upstream, event: events.ConnectionEvent) -> None:
        """Give bytes of a registry, or their end, to its connection."""
        if isinstance(event, events.DataReceived):
            upstream.received(event.data)
        else:
            del self.open_ones[upstream.conn]
            upstream.ended()

    def _take_from(self, upstream: Upstream) -> None:
        for passed in upstream.stack.child_layer.taken():
            if isinstance(passed, events.OpenConnectionCompleted):
                self._made(upstream, passed, self._opening.pop(upstream.conn))
            elif self._engine.websocket is not None:
                self._engine.websocket.take(passed)
            elif isinstance(passed, events.ConnectionEvent):
                self.take(upstream, passed)

    def _made(self, upstream: Upstream, reply: Any, made: Made) -> None:
        if reply.reply is None:
            upstream.made = True
            made(upstream, "")
        else:
            upstream.closed = True
            self.open_ones.pop(upstream.conn, None)
            made(None, reply.reply)

    def _feed(self, upstream: Upstream, event: events.Event) -> None:
        for command in upstream.stack.handle_event(event):
            waits = command.blocking or isinstance(command, commands.RequestWakeup)
            self._engine.order(command, partial(self._reply, upstream) if waits else None)

    def _reply(self, upstream: Upstream, reply: Any) -> None:
        self._feed(upstream, reply)
        if upstream.conn in self.open_ones:
            self._take_from(upstream)


def _wanted(flow: http.HTTPFlow) -> tuple[Any, bool, Any]:
    """Return what a connection for a request needs: the address, whether TLS, and a proxy."""
    data = flow.request.data
    return (data.host, data.port), data.scheme == b"https", flow.server_conn.via
