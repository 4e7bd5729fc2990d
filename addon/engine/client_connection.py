"""What a client's connection is to the engine, whatever its version of HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .front import Front
from .turns import Turns

if TYPE_CHECKING:
    from .layer import Engine


class ClientConnection(Front):
    """The state that HTTP/1 and HTTP/2 share.

    Args:
        engine: writes to the connection and closes it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.addon = engine.addon
        self.conn = engine.context.client
        self.buffer = b""
        self.turns = Turns(engine.addon.slots, engine.wake_up)
        self.paused = False
        """Whether reading from the client is paused."""
        self.closed = False

    def pace(self, full: bool) -> None:
        """Pause reading from the client, or resume it."""
        if full != self.paused:
            self.paused = full
            self.addon.pace(self.conn, self.conn, not full)
