"""How many clients may be connected at once.

A connection holds memory and an open file, even while it is idle. When a client connects beyond
the limit, the connection that has been idle longest is closed, as nginx does: otherwise clients
that forget their connections would lock out all others, health checks included.

If no connection is idle, the new one is turned away. It gets an answer in a single write, if it is
likely to speak plain HTTP, and is closed unread.
"""

from __future__ import annotations

import logging

from mitmproxy import ctx
from mitmproxy.connection import Client

from ..engine import connections, plug
from ..engine.front import GiveWay
from ..engine.responses import to_last_bytes
from ..engine.to_engine import ToEngine
from ..errors.replies import Reply
from ..rules.model import Limits
from . import open_files
from .connected import Connected
from .idle_clients import IdleClients
from .spell import Spell

logger = logging.getLogger(__name__)

DEFAULT = Limits().connections
MESSAGE = "This proxy has reached its limit for connections. Please try again."


class ClientLimit:
    """Turns clients away.

    Args:
        connected: the clients that may stay are counted there.
    """

    def __init__(self, connected: Connected) -> None:
        self._connected = connected
        self._spell = Spell(_over)
        self._idle: IdleClients = IdleClients(connections.handlers, connections.idle_since)
        self._giving_way = Spell(_there_is_room)
        self._to_engine = ToEngine()
        self.in_force = 0
        """The number of clients allowed at once."""

    def use(self, limits: Limits) -> None:
        """Apply the limits of new rules."""
        wanted, files = limits.connections, open_files.allowed()
        before, self.in_force = self.in_force, open_files.clients(wanted, files)
        # The default means "as many as open files allow", provided that is enough.
        expected = limits.flows if wanted == DEFAULT else wanted
        if self.in_force < min(expected, wanted) and self.in_force != before:
            logger.warning(
                "limits.connections is %d, but %s open files allow %d (see ulimit -Hn)",
                *(wanted, files, self.in_force),
            )

    def admits(self, client: Client) -> bool:
        """Return whether a client that has just connected may stay."""
        if not self._connected.reaches(self.in_force) or self._takes_a_place():
            self._connected.begin(client, connections.transport(client))
            return True
        if self._spell.happens():
            logger.warning("%d clients are connected, more are turned away", self.in_force)
        return False

    def _takes_a_place(self) -> bool:
        """Close the connection that has been idle longest; return whether there was one."""
        if (record := self._idle.take()) is None:
            return False
        if self._giving_way.happens():
            logger.warning(
                "%d clients are connected, those idle for the longest time are closed",
                self.in_force,
            )
        if connections.engine_of(record.client) is not None:
            self._to_engine.tell_soon(record.client, GiveWay())
        else:
            connections.close(record.client)  # It has sent nothing yet.
        return True


def answer(client: Client, reply: Reply) -> None:
    """Send a last answer to a client whose bytes were not read, if it speaks plain HTTP."""
    # Where a certificate is configured, clients speak TLS.
    if plug.serves(client) and not ctx.options.certs:
        transport = connections.transport(client)
        if transport is not None:
            transport.write(to_last_bytes(reply))


def _over(times: int) -> None:
    logger.warning("clients are let in again; %d were turned away", times)


def _there_is_room(times: int) -> None:
    logger.warning("there is room for clients again; %d idle ones were closed", times)
