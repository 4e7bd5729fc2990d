"""The engine: the layer that serves HTTP in reverse mode, in place of mitmproxy's `HttpLayer`.

An addon chooses in the hook `next_layer` which layer serves a connection
(https://docs.mitmproxy.org/stable/api/events.html). An engine belongs to one client: it takes
events (bytes, ends, completed hooks) and returns a list of commands (write, open, close, run a
hook). It does no I/O itself.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mitmproxy import http
from mitmproxy.connection import ConnectionState, Server
from mitmproxy.flow import Error
from mitmproxy.net.http import url
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook
from mitmproxy.proxy.layers.tls import ServerTLSLayer
from mitmproxy.proxy.tunnel import TunnelLayer
from mitmproxy.websocket import WebSocketData

from ..protocol import framing
from ..protocol.headers import read
from ..routing import flow_state
from . import heads
from .downloads import Downloads
from .exchange import Exchange
from .front import GiveWay, SilentBodies, UntakenAnswers
from .front_http1 import Http1Front
from .front_http2 import Http2Front
from .http2_connection import Http2Connection
from .interface import Addon
from .sizes import Sizes
from .tap import Tap, Write
from .uploads import Uploads
from .upstream import Upstream
from .websocket import WebSocket

logger = logging.getLogger(__name__)

_OF_CONNECTION = (
    *("h2.", "hpack.", "hyperframe."),
    *(each.__module__ for each in (Http2Front, Http2Connection, Downloads, Uploads)),
)
"""Modules with code of the HTTP/2 connection: names, or their prefixes."""


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
        self._upstreams: dict[Any, Upstream] = {}
        self._opening: dict[Any, Callable[[Upstream | None, str], None]] = {}
        self._replies: dict[Any, Callable[[Any], None]] = {}
        """Functions that take the replies to commands."""
        self._websocket: WebSocket | None = None
        self._failed = False
        """Whether an exception has ended all exchanges of this client."""
        options = context.options
        self._validate = bool(options.validate_inbound_headers)
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
        elif isinstance(event, events.MessageInjected) and self._websocket is not None:
            self._websocket.take(event)

    def _fail(self, error: Exception) -> None:
        """End all exchanges: after an exception in the engine, its state cannot be trusted."""
        self._failed = True
        # The message, and the values in a traceback, may contain a client's data.
        self.log(f"internal error, the connection is closed: {described(error)}", logging.ERROR)
        for exchange in self._exchanges():
            if exchange.is_open and exchange.flow.response is not None:
                # Otherwise the end of the connection could mark the end of the answer.
                self.addon.reset(self.context.client)
            self._report(exchange)
        if self._websocket is not None:
            self._websocket.give_up()
            self.addon.over(self._websocket.flow)
        for conn in (*self._upstreams, self.context.client):
            self.close(conn)

    def _report(self, exchange: Exchange) -> None:
        """Report that an exception in the engine has ended an exchange."""
        if exchange.is_open:
            flow = exchange.flow
            flow.error = flow.error or Error("internal error")
            flow_state.of(flow).ended_by = "proxy"
            flow.live = False
            self.hook(HttpErrorHook, flow, lambda: None)
        self.addon.over(exchange.flow)

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
        self._report(exchange)
        exchange.give_up()
        self.front.abort(exchange.key)
        return True

    def _exchanges(self) -> list[Exchange]:
        begun = self.front.exchanges() if hasattr(self, "front") else []
        return [exchange for exchange in begun if hasattr(exchange, "flow")]

    @property
    def at_work(self) -> bool:
        """Whether a request or a WebSocket of the client is in progress."""
        return not self._failed and (self._websocket is not None or self.front.at_work)

    def flows(self) -> list[http.HTTPFlow]:
        """Return the flows in flight."""
        return [] if self._failed else [exchange.flow for exchange in self._exchanges()]

    def _on_connection(self, event: events.ConnectionEvent) -> None:
        upstream = self._upstreams.get(event.connection)
        if upstream is not None and upstream.stack is not None:
            self._feed(upstream.stack, event)
            self._take_from(upstream)
        elif self._websocket is not None:
            self._websocket.take(event)
        elif event.connection is self.context.client:
            if isinstance(event, events.DataReceived):
                self.front.received(event.data)
            else:
                self.front.ended()
        elif upstream is not None:
            self._on_upstream(upstream, event)

    def _on_upstream(self, upstream: Upstream, event: events.ConnectionEvent) -> None:
        if isinstance(event, events.DataReceived):
            upstream.received(event.data)
        else:
            del self._upstreams[upstream.conn]
            upstream.ended()

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

    # Checks.

    def request_problem(self, request: http.Request) -> str | None:
        """Return why to refuse a request before addons judge it; None for a valid one."""
        data = request.data
        if data.method == b"CONNECT":
            return "CONNECT is for forward proxies"
        if data.scheme not in (b"http", b"https", b""):
            return "an unknown scheme"
        if not self._validate:
            return None
        pairs = data.headers.fields
        fields = read(pairs)
        version, method, path = data.http_version, data.method, data.path
        if not request.is_http2:
            # The front has checked the lines and the framing.
            return framing.head_flaw(version, method, path, data.scheme, data.authority, fields)
        try:
            heads.framing(fields, version)  # Old hyper-h2 accepts any length.
        except ValueError as error:
            return str(error)
        return framing.request_flaw(version, method, path, data.scheme, data.authority, pairs)

    # Connections.

    def write_client(self, data: bytes) -> None:
        """Write to the client."""
        self._out.append(commands.SendData(self.context.client, data))

    def write(self, upstream: Upstream, data: bytes) -> None:
        """Write to a registry."""
        if upstream.stack is not None:
            self._feed(upstream.stack, Write(data))
        else:
            self._out.append(commands.SendData(upstream.conn, data))

    def close(self, connection: Any) -> None:
        """Close a connection."""
        if connection.state is not ConnectionState.CLOSED:
            self._out.append(commands.CloseConnection(connection))

    def idle(self, flow: http.HTTPFlow) -> Upstream | None:
        """Return an idle connection for a request, if there is one."""
        wanted = _target(flow)
        for upstream in self._upstreams.values():
            conn = upstream.conn
            if upstream.idle and (conn.address, conn.tls, conn.via) == wanted:
                return upstream
        return None

    def open(self, flow: http.HTTPFlow, made: Callable[[Upstream | None, str], None]) -> None:
        """Open a connection for a request.

        Args:
            flow: the flow, with the target of the connection.
            made: takes the new connection, or None and the error.
        """
        address, tls, via = _target(flow)
        context = self.context.fork()
        context.server = conn = Server(address=address)
        conn.via = via
        if not tls:
            self._upstreams[conn] = upstream = Upstream(self, conn)
            self.order(
                commands.OpenConnection(conn), lambda reply: self._made(upstream, reply, made)
            )
            return
        sni = address[0]
        if address == self.context.server.address:
            sni = self.context.server.sni or self.context.client.sni or sni
        conn.sni = sni
        conn.alpn_offers = (b"http/1.1",)
        stack: Any = ServerTLSLayer(context)
        stack.child_layer = tap = Tap(context)
        self._upstreams[conn] = upstream = Upstream(self, conn, stack)
        self._opening[conn] = made
        tap.conn = conn
        upstream.tap = tap
        self._feed(stack, events.Start())
        self._take_from(upstream)

    def _made(
        self, upstream: Upstream, reply: Any, made: Callable[[Upstream | None, str], None]
    ) -> None:
        if reply.reply is None:
            upstream.made = True
            made(upstream, "")
        else:
            upstream.closed = True
            self._upstreams.pop(upstream.conn, None)
            made(None, reply.reply)

    def order(self, command: Any, then: Callable[[Any], None] | None = None) -> None:
        """Give a command to mitmproxy.

        Args:
            command: the command.
            then: takes the reply, if there is one to wait for.
        """
        if then is not None:
            command.blocking = self
            self._replies[command] = then
        self._out.append(command)

    def _take_from(self, upstream: Upstream) -> None:
        """Handle the events that have passed the TLS layer of a connection."""
        tap: Tap = upstream.tap
        for event in tap.taken():
            if isinstance(event, events.OpenConnectionCompleted):
                made = self._opening.pop(upstream.conn)
                self._made(upstream, event, made)
            elif self._websocket is not None:
                self._websocket.take(event)
            elif isinstance(event, events.ConnectionEvent):
                self._on_upstream(upstream, event)

    def _feed(self, other: Any, event: events.Event) -> None:
        """Give an event to another layer, and its commands to mitmproxy."""
        for command in other.handle_event(event):
            self._pass(other, command)

    def _pass(self, other: Any, command: commands.Command) -> None:
        if command.blocking or isinstance(command, commands.RequestWakeup):
            self._replies[command] = lambda reply: self._reply(other, reply)
        self._out.append(command)

    def _reply(self, other: Any, reply: Any) -> None:
        self._feed(other, reply)
        for upstream in [*self._upstreams.values()]:
            if upstream.stack is other:
                self._take_from(upstream)

    # WebSockets.

    def is_websocket(self, flow: http.HTTPFlow) -> bool:
        """Return whether an answer begins a WebSocket (RFC 6455)."""
        response = flow.response
        return (
            response is not None
            and response.data.status_code == 101
            and response.headers.get("upgrade", "").lower() == "websocket"
            and flow.request.headers.get("sec-websocket-version", "") == "13"
            and bool(self.context.options.websocket)
        )

    def expect_websocket(self, flow: http.HTTPFlow) -> None:
        """Let addons see in `response` that a WebSocket follows."""
        flow.websocket = WebSocketData()

    def begin_websocket(self, exchange: Exchange) -> None:
        """Hand the two connections over to mitmproxy's own layer."""
        if not isinstance(upstream := exchange.upstream, Upstream):
            raise RuntimeError("there is no connection to the registry")
        self._websocket = WebSocket(self, exchange.flow, upstream)
        for conn, rest in (
            (self.context.client, self.front.take_rest()),
            (upstream.conn, upstream.take_rest()),
        ):
            if rest:
                self._websocket.take(events.DataReceived(conn, rest))
        for conn in (self.context.client, upstream.conn):
            if not conn.state & ConnectionState.CAN_READ:
                # The event came before the handover, so the WebSocket has not seen it.
                self._websocket.take(events.ConnectionClosed(conn))


def _target(flow: http.HTTPFlow) -> tuple[Any, bool, Any]:
    """Return what a connection for a request needs: the address, whether by TLS, and a proxy."""
    data = flow.request.data
    return (data.host, data.port), data.scheme == b"https", flow.server_conn.via


def described(error: Exception) -> str:
    """Return the type and the place of an exception, without its message."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {last.name} ({Path(last.filename).name}:{last.lineno})"


def is_of_connection(error: Exception) -> bool:
    """Return whether an exception passed through code of the client's HTTP/2 connection."""
    modules = (
        str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)
    )
    return any(name.startswith(_OF_CONNECTION) for name in modules)
