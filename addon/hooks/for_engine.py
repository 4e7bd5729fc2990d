"""The engine's calls, each passed to the addon that has the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from mitmproxy import http
from mitmproxy.connection import Client, Connection
from mitmproxy.proxy.layer import NextLayer

from ..engine import connections, plug, top_layer
from ..engine.front import Front
from ..engine.top_layer import TopLayer
from ..engine.turns import Slots
from ..errors.replies import Reply
from ..internals import wide_reads
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

    def request_head_limit(self) -> int:
        """Return the limit for request line and headers, in bytes."""
        return self.rules.get().rules.limits.request_head

    def response_head_limit(self) -> int:
        """Return the limit for status line and headers, in bytes."""
        return self.rules.get().rules.limits.response_head

    def head_time(self, client: Client) -> float:
        """Return how many seconds a client that has begun a head has for the rest."""
        self.clients.time_limits.stop(client.id)
        return self.rules.get().rules.limits.head_timeout

    def hold(self, flow: http.HTTPFlow, more: int) -> bool:
        """Count bytes of a flow's bodies if there is room."""
        return self.in_flight.hold(flow.id, more, self.rules.get().rules.limits.held)

    def await_body(self, client: Client, front: Front) -> None:
        """Watch the body of a request."""
        self.clients.await_body(client, front)

    def await_window(self, client: Client, untaken: Callable[[], float | None]) -> None:
        """Watch a client without room for an answer."""
        self.clients.send_times.await_window(client, untaken)

    def is_cut(self, flow: http.HTTPFlow) -> bool:
        """Return whether the upstream's connection was cut, by a time limit or a reset."""
        return self.clients.time_limits.is_cut(flow)

    def was_cut(self, flow: http.HTTPFlow, why: str) -> None:
        """Log that a transfer was cut midway."""
        answering.log_cut(flow, why)

    # Connections.

    def top_layer(self, client: Client) -> TopLayer | None:
        """Return a client's topmost layer."""
        return top_layer.of(connections.handler(client))

    def reset(self, client: Client) -> None:
        """Let a client see that its answer is incomplete."""
        connections.reset_at_end(client)

    def waited(self, client: Client) -> float:
        """Return for how many seconds the proxy has waited for bytes of a client."""
        return body_times.waited(client)

    def pace(self, client: Client, connection: Connection, wanted: bool) -> None:
        """Resume reading from a connection, or pause it."""
        wide_reads.pace(connections.io(client, connection), wanted)

    def has_room(self, client: Client, connection: Connection) -> bool:
        """Return whether a registry can take more of a body."""
        return room.is_there(connections.io(client, connection))
