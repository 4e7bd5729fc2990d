"""The engine's calls, each passed to the addon that has the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from mitmproxy import http
from mitmproxy.connection import Client, Connection
from mitmproxy.proxy.layer import NextLayer

from ..engine import connections, plug
from ..engine.front import Front
from ..engine.turns import Slots
from ..errors.replies import Reply
from ..internals import wide_reads
from ..rules.model import Limits
from . import answering, body_times, room
from .clients import Clients
from .drain import Drain
from .in_flight import InFlight
from .rules_in_force import RulesInForce


@dataclass(slots=True, eq=False)
class ForEngine:
    """The addon that plugs the engine in; `engine.interface.Addon` describes the calls."""

    rules: RulesInForce
    clients: Clients
    drain: Drain
    in_flight: InFlight
    """Requests that are being served, with their bytes in memory."""
    may_go: Callable[[http.HTTPFlow], bool]
    let_go: Callable[[http.HTTPFlow, bytes], bool | None]
    goes_again: Callable[[http.HTTPFlow], bool]
    refuse_to_hold: Callable[[http.HTTPFlow], None]
    own_reply: Callable[[http.HTTPFlow | None, int, str], Reply]
    refused: Callable[[Client, Reply], None]
    keeps_messages: Callable[[], bool]
    slots: Slots = field(default_factory=Slots)
    name: ClassVar[str] = "mlflow-engine"

    def next_layer(self, data: NextLayer) -> None:
        """Let the engine serve HTTP in reverse mode."""
        plug.choose(data, self)

    def is_draining(self) -> bool:
        """Return whether the proxy is shutting down."""
        return self.drain.begun

    def over(self, flow: http.HTTPFlow) -> None:
        """Release a request's resources."""
        self.in_flight.end(flow.id, self.clients.connected.transport(flow.client_conn))

    # Limits.

    def limits(self) -> Limits:
        """Return the limits in force."""
        return self.rules.get().rules.limits

    def head_time(self, client: Client) -> float:
        """Return how many seconds a client that has begun a head has for the rest."""
        self.clients.time_limits.stop(client.id)
        return self.limits().head_timeout

    def hold(self, flow: http.HTTPFlow, more: int) -> bool:
        """Count bytes of a flow's bodies if there is room."""
        return self.in_flight.hold(flow.id, more, self.limits().held)

    def hold_head(self, client: Client, size: int) -> bool:
        """Count the bytes of a client's head if there is room."""
        return self.in_flight.hold_head(client.id, size, self.limits().held)

    def client_disconnected(self, client: Client) -> None:
        """The client has gone: nothing of its head is left."""
        self.in_flight.hold_head(client.id, 0, 0)

    def await_body(self, client: Client, front: Front) -> None:
        """Watch the body of a request."""
        self.clients.body_times.await_body(client, front, lambda: self.limits().body_timeout)

    def await_window(self, client: Client, untaken: Callable[[], float | None]) -> None:
        """Watch a client without room for an answer."""
        self.clients.send_times.await_window(client, untaken)

    def is_cut(self, flow: http.HTTPFlow) -> bool:
        """Return whether the upstream's connection was cut, by a time limit or a reset."""
        return self.clients.time_limits.is_cut(flow)

    was_cut = staticmethod(answering.log_cut)

    # Connections.

    top_layer = staticmethod(connections.top_layer)
    reset = staticmethod(connections.reset_at_end)
    waited = staticmethod(body_times.waited)

    def pace(self, client: Client, connection: Connection, wanted: bool) -> None:
        """Resume reading from a connection, or pause it."""
        wide_reads.pace(connections.io(client, connection), wanted)

    def has_room(self, client: Client, connection: Connection) -> bool:
        """Return whether a registry can take more of a body."""
        return room.is_there(connections.transport(client, connection))
