"""The connections of clients, and those to registries: limits first, then speed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from mitmproxy.connection import Client, Connection
from mitmproxy.proxy.mode_specs import ReverseMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import TlsData

from ..engine import connections
from ..errors import replies
from ..internals import wide_reads
from ..routing.settings import Settings
from . import answering, client_limit, room, silent_clients
from .body_times import BodyTimes
from .client_limit import ClientLimit
from .connected import Connected
from .rules_in_force import RulesInForce
from .send_times import SendTimes
from .silent_clients import SilentClients
from .time_limits import TimeLimits

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Clients:
    """The addon that admits clients and watches their connections."""

    rules: RulesInForce
    time_limits: TimeLimits
    body_times: BodyTimes
    connected: Connected
    count_refused: Callable[[replies.Refusal], None]
    """Counts a client that was turned away."""
    limit: ClientLimit = field(init=False)
    send_times: SendTimes = field(init=False)
    silent_clients: SilentClients = field(default_factory=SilentClients)
    name: ClassVar[str] = "mlflow-clients"

    def __post_init__(self) -> None:
        self.limit = ClientLimit(self.connected)
        self.send_times = SendTimes(self.connected)

    def use(self, read: Settings) -> None:
        """Apply new rules."""
        limits, upstream = read.rules.limits, read.rules.upstream
        self.limit.use(limits)
        seconds = silent_clients.set_by_user()
        if seconds is not None and (warning := silent_clients.warning(seconds, limits, upstream)):
            logger.warning("%s", warning)

    def client_connected(self, client: Client) -> None:
        """Accept or turn away a client; limit the time until its first request."""
        if (settings := self.rules.settings) is None:
            # Until mitmproxy ends, its bytes must not be forwarded unread either.
            client.error = "no rules are loaded"
            return
        if client.transport_protocol == "udp" and (settings.wary or settings.off_somewhere()):
            # HTTP/3 requests are not judged again before they go upstream.
            client.error = "HTTP/3 is not served while artifacts are switched off"
            return
        if not self.limit.admits(client):
            self._turn_away(client)
            return
        mode = client.proxy_mode
        if isinstance(mode, ReverseMode) and "http" in mode.scheme:
            self.time_limits.connected(client, settings.rules.limits.head_timeout)
            self.silent_clients.connected(client, lambda: self.rules.get().rules)
            self.send_times.watch(lambda: self.rules.get().rules.limits.send_timeout)

    def client_disconnected(self, client: Client) -> None:
        """The client has gone: drop its state."""
        self.connected.end(client)
        self.time_limits.forget(client.id)
        self.body_times.forget(client.id)
        self.send_times.gone(client.id)
        self.silent_clients.forget(client.id)

    def server_connect(self, data: ServerConnectionHookData) -> None:
        """Limit the time for a connection attempt; refuse a name that cannot be looked up."""
        try:
            (data.server.address or ("",))[0].encode("idna")
        except UnicodeError:
            # asyncio raises it, too, and mitmproxy would let the request wait for ever.
            data.server.error = "the registry's name is not a valid host name"
            return
        self.time_limits.connecting(data.client, data.server, self.rules.get().rules.upstream)

    def server_connected(self, data: ServerConnectionHookData) -> None:
        """Read from the upstream in large portions."""
        _widen(data.client, data.server)
        if data.client.alpn == b"h2":
            room.widen(connections.transport(data.client, data.server))
        if not data.server.tls:
            self.time_limits.stop(data.server.id)

    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        """A connection attempt has failed: stop its timer, and drop its record."""
        self.time_limits.stop(data.server.id)
        connections.forget(data.client, data.server)

    def tls_established_server(self, data: TlsData) -> None:
        """TLS with the upstream is established or has failed: stop the timer of the connection."""
        self.time_limits.stop(data.conn.id)

    tls_failed_server = tls_established_server

    def _turn_away(self, client: Client) -> None:
        client.error = "too many clients are connected"
        reply = replies.own_error(
            503,
            self.rules.get().rules.errors.code(503),
            client_limit.MESSAGE,
            "http_request_denied",
            answering.request_id(None),
            "too_many_connections",
        )
        client_limit.answer(client, reply)
        self.count_refused("too_many_connections")


class WideReads:
    """The addon that reads from admitted clients in large portions."""

    name = "mlflow-wide-reads"

    def client_connected(self, client: Client) -> None:
        """Install the reader, below the topmost layer."""
        if not client.error:
            _widen(client, client)


def _widen(client: Client, connection: Connection) -> None:
    top = connections.top_layer(client)
    take = top.received if top is not None else None
    wide_reads.widen(connections.io(client, connection), connection, take)
