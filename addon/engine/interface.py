"""What the engine asks the addon, and what the two leave for each other in a flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mitmproxy import http
from mitmproxy.connection import Client, Connection

from ..errors.replies import Reply
from .front import Front
from .top_layer import TopLayer
from .turns import Slots

AUTHORITY = "mlflow_authority"
"""Key in `flow.metadata`: the host that the client asked for, which reverse mode overwrites."""

HOLD = "mlflow_hold"
"""Key in `flow.metadata`: so many bytes of the response body are held before `let_go` is asked."""

WHOLE = "mlflow_whole"
"""Key in `flow.metadata`: the request body has to be read before any of it goes upstream."""

DROPPED = "mlflow_dropped"
"""Key in `flow.metadata`: of the response body only what is held so far is needed."""

RETRIED = "mlflow_retried"
"""Key in `flow.metadata`: the request must not be sent again, because it was, or for a reason."""

SWITCHES = "mlflow_switches"
"""Key in `flow.metadata`: the key of a WebSocket's handshake; "" for what may not change the
protocol. Where there is none, the flow is not ours."""

ANSWERED = "mlflow_answered"
"""Key in `flow.metadata`: an addon has answered a request that was on its way upstream already."""

BYTES_IN = "mlflow_bytes_in"
"""Key in `flow.metadata`: so much of a request body was streamed, or has come before it broke."""

BYTES_OUT = "mlflow_bytes_out"
"""Key in `flow.metadata`: so much of a response body was streamed."""

ENDED_BY = "mlflow_ended_by"
"""Key in `flow.metadata`: who has ended a flow early: "client", "upstream" or "proxy"."""


class Addon(Protocol):
    """What is asked."""

    slots: Slots
    """When connections with much to be read have their turns."""

    def top_layer(self, client: Client) -> TopLayer | None:
        """A client's topmost layer; None if it is mitmproxy's own."""

    def own_reply(self, flow: http.HTTPFlow | None, status: int, message: str) -> Reply:
        """Word an answer that mitmproxy makes by itself.

        Args:
            flow: None if it has not even come to that.
            status: the HTTP status.
            message: mitmproxy's words.
        """

    def refused(self, client: Client, reply: Reply) -> None:
        """What a client has sent does not even become a flow; this is the answer."""

    def over(self, flow: http.HTTPFlow) -> None:
        """Nothing more is done for a request: its answer is written, or its client has gone."""

    def keeps_messages(self) -> bool:
        """Tell whether the messages of a WebSocket stay in its flow."""

    def may_go(self, flow: http.HTTPFlow) -> bool:
        """Tell whether a request may go upstream, as it stands now; if not, it has an answer."""

    def let_go(self, flow: http.HTTPFlow, begin: bytes) -> bool | None:
        """Tell whether a held body passes after all.

        Args:
            flow: with its response.
            begin: the body so far.

        Returns:
            True: it passes. False: only its beginning is needed. None: that is not clear yet.
        """

    def goes_again(self, flow: http.HTTPFlow) -> bool:
        """Tell whether an answer that was held, and is complete, is not the last word.

        If so, the request is sent once more as it is in the flow now, and the answer is gone.
        """

    def is_cut(self, flow: http.HTTPFlow) -> bool:
        """Tell whether the upstream's connection has ended otherwise than by its will."""

    def reset(self, client: Client) -> None:
        """Let the end of a client's connection, which is to come, be a reset."""

    def is_draining(self) -> bool:
        """Tell whether answers ask clients to close their connections."""

    def request_head_limit(self) -> int:
        """How many bytes request line and headers may have."""

    def response_head_limit(self) -> int:
        """How many bytes status line and headers may have."""

    def head_time(self, client: Client) -> float:
        """A client has begun to send a head: how many seconds it has for that."""

    def has_room(self, client: Client, connection: Connection) -> bool:
        """Tell whether a registry takes more: what was written to it does not wait."""

    def hold(self, flow: http.HTTPFlow, more: int) -> bool:
        """Tell whether there is room to hold more of the bodies of a flow.

        Args:
            flow: the flow.
            more: bytes; below 0 if so many are no longer held.
        """

    def refuse_to_hold(self, flow: http.HTTPFlow) -> None:
        """Answer a request for which there is no room."""

    def await_body(self, client: Client, front: Front) -> None:
        """The body of a request has begun, and is not complete."""

    def await_window(self, client: Client, untaken: Callable[[], float | None]) -> None:
        """A client by HTTP/2 has no room for a part of an answer.

        Args:
            client: the client.
            untaken: tells for how many seconds it has taken nothing of such an answer; None if
                nothing waits any more.
        """

    def was_cut(self, flow: http.HTTPFlow, why: str) -> None:
        """A transfer that had begun was cut; no answer tells of it."""

    def waited(self, client: Client) -> float:
        """For how many seconds a client has had its turn to send; 0 if it has not."""

    def pace(self, client: Client, connection: Connection, wanted: bool) -> None:
        """Stop reading from one of a client's connections (False), or go on (True)."""
