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
        self._opening: dict[Server, Made | None] = {}
        """Functions for the connections that are being opened; None if no request waits for one."""

    def idle(self, flow: http.HTTPFlow) -> Upstream | None:
        """Return an idle connection for a request, if there is one."""
        wanted = _wanted(flow)
        for upstream in self.open_ones.values():
            if upstream.idle and _is(upstream.conn, wanted):
                return upstream
        return None

    def open(self, flow: http.HTTPFlow, made: Made) -> Server:
        """Open a connection for a request, unless one is being opened that no request waits for.

        Args:
            flow: the flow, with the target of the connection.
            made: called with the result.
        """
        wanted = _wanted(flow)
        for conn, waiting in self._opening.items():
            if waiting is None and _is(conn, wanted):
                break
        else:
            conn = self._open(*wanted)
        self._opening[conn] = made
        return conn

    def leave(self, conn: Server) -> None:
        """Let a connection be opened for which no request waits any more."""
        self._opening[conn] = None

    def _open(self, address: Any, tls: bool, via: Any) -> Server:
        engine = self._engine
        context = engine.context.fork()
        context.server = conn = Server(address=address)
        conn.via = via
        if not tls:
            self.open_ones[conn] = upstream = Upstream(engine, conn)
            engine.order(commands.OpenConnection(conn), partial(self._made, upstream))
            return conn
        sni = address[0]
        if address == engine.context.server.address:
            sni = engine.context.server.sni or engine.context.client.sni or sni
        conn.sni = sni
        conn.alpn_offers = (b"http/1.1",)
        stack: Any = ServerTLSLayer(context)
        stack.child_layer = Tap(context)
        self.open_ones[conn] = upstream = Upstream(engine, conn, stack)
        self.feed(upstream, events.Start())
        return conn

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
                self._made(upstream, passed)
            elif self._engine.websocket is not None:
                self._engine.websocket.take(passed)
            elif isinstance(passed, events.ConnectionEvent):
                self.take(upstream, passed)

    def _made(self, upstream: Upstream, reply: Any) -> None:
        made = self._opening.pop(upstream.conn)
        if reply.reply is not None:
            upstream.closed = True
            self.open_ones.pop(upstream.conn, None)
        elif made is None:
            upstream.close()
        else:
            upstream.made = True
        if made is not None:
            made(None if upstream.closed else upstream, reply.reply or "")

    def _feed(self, upstream: Upstream, event: events.Event) -> None:
        for command in upstream.stack.handle_event(event):
            waits = command.blocking or isinstance(command, commands.RequestWakeup)
            self._engine.order(command, partial(self._reply, upstream) if waits else None)

    def _reply(self, upstream: Upstream, reply: Any) -> None:
        self._feed(upstream, reply)
        if upstream.conn in self.open_ones:
            self._take_from(upstream)


def _is(conn: Server, wanted: Any) -> bool:
    return bool((conn.address, conn.tls, conn.via) == wanted)


def _wanted(flow: http.HTTPFlow) -> tuple[Any, bool, Any]:
    """Return what a connection for a request needs: the address, whether TLS, and a proxy."""
    data = flow.request.data
    return (data.host, data.port), data.scheme == b"https", flow.server_conn.via
