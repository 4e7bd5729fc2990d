"""What reading requests and writing answers share of a client's HTTP/1 connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mitmproxy.connection import ConnectionState

from . import endings, heads
from .backlog import Backlog
from .client_connection import ClientConnection
from .deadline import Deadline
from .exchange import Exchange
from .http1_framing import AnswerFraming
from .readers import Reader
from .responses import to_last_bytes

if TYPE_CHECKING:
    from .layer import Engine

DISCONNECTED = "Client disconnected."


class Http1Connection(ClientConnection):
    """The state of one connection; see `ClientConnection`."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.exchange: Exchange | None = None
        self.key = 1
        """The number of the exchange, for the front."""
        self.begun = heads.Begun()
        self._head_counted = False
        """Whether the addon has counted the beginning of a head."""
        self.reader: Reader | None = None
        """The reader of the request's body; None once the request is complete."""
        self.deadline = Deadline(engine.wake_up, self._late)
        """When a head that has begun must be complete."""
        self.backlog = Backlog(engine)
        self.busy = False
        """Whether the loop of `http1_requests.read_on` runs further down the stack."""
        self.framing = AnswerFraming(engine.addon.is_draining)
        self.answered = False
        """Whether the answer is complete."""
        self.shut_down = False
        """Whether the client has shut down its side."""
        self.waited_for = False
        """Whether the answer to a half-closed client has a time limit already."""

    def write(self, data: bytes) -> None:
        """Write to the client, if it still reads."""
        state = self.conn.state
        # The operators of flags are slow, and nearly all connections are open.
        if state is ConnectionState.OPEN or state & ConnectionState.CAN_WRITE:
            self.engine.write_client(data)

    def close(self) -> None:
        """Close the connection."""
        self.closed = True
        self.deadline.ends = None
        self.buffer = b""
        self.begun = heads.Begun()
        self.hold_head(0)
        self.pace(False)
        self.engine.close(self.conn)

    def hold_head(self, size: int) -> None:
        """Count the bytes of a head that has begun; refuse it if there is no room."""
        counts = size > heads.UNCOUNTED
        if counts or self._head_counted:
            self._head_counted = counts
            if not self.addon.hold_head(self.conn, size if counts else 0):
                self.refuse_bytes(503)

    def release(self) -> None:
        """Release what the addon has counted for the exchange: its answer is written."""
        if self.exchange is not None:
            self.addon.over(self.exchange.flow)

    def end_early(self, why: str) -> None:
        """Close the connection in the middle of a request or its answer."""
        exchange = self.exchange
        self.close()
        if exchange is not None:
            endings.gone(exchange, why)
            self.addon.over(exchange.flow)

    def refuse_bytes(self, status: int) -> None:
        """Answer bytes that are not a request."""
        reply = self.addon.own_reply(None, status, "")
        self.addon.refused(self.conn, reply)
        self.write(to_last_bytes(reply))
        self.close()

    def _late(self) -> None:
        self.refuse_bytes(408)
