"""The engine's calls to the addon; both keep what they know of a flow in its `FlowState`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mitmproxy import http
from mitmproxy.connection import Client, Connection

from ..errors.replies import Reply
from ..rules.model import Limits
from .front import Front
from .top_layer import TopLayer
from .turns import Slots


class Addon(Protocol):
    """The methods that the engine calls."""

    slots: Slots
    """Schedules turns for connections with much to read."""

    def top_layer(self, client: Client, /) -> TopLayer | None:
        """Return a client's topmost layer; None if it is mitmproxy's own."""

    def own_reply(self, flow: http.HTTPFlow | None, status: int, message: str, /) -> Reply:
        """Return the answer for an error that the engine reports.

        Args:
            flow: the flow; None if there is none yet.
            status: the HTTP status.
            message: the engine's or mitmproxy's description of the error.
        """

    def refused(self, client: Client, reply: Reply, /) -> None:
        """Record a refusal: the client's bytes do not become a flow, and get this answer."""

    def over(self, flow: http.HTTPFlow, /) -> None:
        """Release a request's resources: its answer is written, or its client has gone."""

    def keeps_messages(self) -> bool:
        """Return whether to keep the messages of a WebSocket in its flow."""

    def may_go(self, flow: http.HTTPFlow, /) -> bool:
        """Return whether a request may go upstream in its final form; if not, it has an answer."""

    def let_go(self, flow: http.HTTPFlow, begin: bytes, /) -> bool | None:
        """Return whether a held body passes after all.

        Args:
            flow: the flow, with its response.
            begin: the body so far.

        Returns:
            True: it passes. False: only its beginning is needed. None: that is not clear yet.
        """

    def goes_again(self, flow: http.HTTPFlow, /) -> bool:
        """Return whether to send a request again after a held answer is complete.

        If so, the request in the flow is the new one, and the answer is removed.
        """

    def is_cut(self, flow: http.HTTPFlow, /) -> bool:
        """Return whether the upstream's connection was cut, by a time limit or a reset."""

    def reset(self, client: Client, /) -> None:
        """Make the coming close of a client's connection a reset."""

    def is_draining(self) -> bool:
        """Return whether answers ask clients to close their connections."""

    def limits(self) -> Limits:
        """Return the limits in force."""

    def head_time(self, client: Client, /) -> float:
        """Return how many seconds a client that has begun a head has for the rest."""

    def has_room(self, client: Client, connection: Connection, /) -> bool:
        """Return whether a registry can take more: few bytes written to it still wait."""

    def hold(self, flow: http.HTTPFlow, more: int, /) -> bool:
        """Count bytes of a flow's bodies in memory, if there is room; return whether there is.

        Args:
            flow: the flow.
            more: bytes; negative for bytes no longer held.
        """

    def hold_head(self, client: Client, size: int, /) -> bool:
        """Count a head that has begun, in place of its count before; return whether there is room.

        Args:
            client: the client.
            size: bytes so far; 0 when the head is complete or dropped.
        """

    def refuse_to_hold(self, flow: http.HTTPFlow, /) -> None:
        """Answer a request whose bodies there is no room to hold."""

    def await_body(self, client: Client, front: Front, /) -> None:
        """Watch the body of a request that has begun and is not complete."""

    def await_window(self, client: Client, untaken: Callable[[], float | None], /) -> None:
        """Watch an HTTP/2 client whose window has no room for a part of an answer.

        Args:
            client: the client.
            untaken: returns for how many seconds it has taken nothing of such an answer; None once
                nothing waits.
        """

    def was_cut(self, flow: http.HTTPFlow, why: str, /) -> None:
        """Log that a transfer was cut midway: the client gets no answer that says so."""

    def waited(self, client: Client, /) -> float:
        """Return for how many seconds the proxy has waited for bytes of a client, or 0."""

    def pace(self, client: Client, connection: Connection, wanted: bool, /) -> None:
        """Pause reading from one of a client's connections (False), or resume it (True)."""
