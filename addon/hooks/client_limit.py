"""How many clients may be connected at once.

A connection holds memory and an open file, even while it is idle. When a client connects beyond
the limit, the connection that has been idle longest is closed, as nginx does: otherwise clients
that forget their connections would lock out all others, health checks included.

If no connection is idle, the new one is turned away. It gets an answer in a single write, if it is
likely to speak plain HTTP, and is closed unread.

mitmproxy forgets a client when its answer is complete. Up to about 300 KiB of the answer may still
wait for a client that does not read, and keep the file open; such a connection still counts.
"""

from __future__ import annotations

import asyncio
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
from .idle_clients import IdleClients
from .in_flight import InFlight, Transport
from .spell import Spell

logger = logging.getLogger(__name__)

DEFAULT = Limits().connections
MESSAGE = "This proxy has as many connections as it may. Please try again."


class Connected:
    """Counts connections by client id, the way requests are counted."""

    def __init__(self) -> None:
        self._clients = InFlight()

    def admit(self, key: str, limit: int) -> bool:
        """Count a new client if there is room; return whether there is."""
        if self._clients.reaches(limit):
            return False
        self._clients.begin(key)
        return True

    def admit_for_another(self, key: str) -> None:
        """Count a new client for which another one is being closed."""
        self._clients.begin(key)

    def leave(self, key: str, transport: Transport | None) -> None:
        """A client has gone; its transport, if any, still holds its unsent bytes."""
        # Most transports are empty: keep only those that are not.
        waits = transport is not None and transport.get_write_buffer_size()
        self._clients.end(key, transport if waits else None)


class ClientLimit:
    """Turns clients away."""

    def __init__(self) -> None:
        self._connected = Connected()
        self._transports: dict[str, asyncio.WriteTransport] = {}
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

    def transport(self, client: Client) -> asyncio.WriteTransport | None:
        """Return the transport of a client, if it is connected."""
        return self._transports.get(client.id)

    def admits(self, client: Client) -> bool:
        """Return whether a client that has just connected may stay."""
        if self._connected.admit(client.id, self.in_force) or self._takes_a_place(client):
            if (transport := connections.transport(client)) is not None:
                self._transports[client.id] = transport
            return True
        if self._spell.happens():
            logger.warning("%d clients are connected, more are turned away", self.in_force)
        return False

    def _takes_a_place(self, client: Client) -> bool:
        """Close the connection that has been idle longest; return whether there was one."""
        if (record := self._idle.take()) is None:
            return False
        if self._giving_way.happens():
            logger.warning(
                "%d clients are connected, those that are idle for longest give way", self.in_force
            )
        if connections.engine_of(record.client) is not None:
            self._to_engine.tell_soon(record.client, GiveWay())
        else:
            connections.close(record.client)  # It has sent nothing yet.
        self._connected.admit_for_another(client.id)
        return True

    def gone(self, client: Client) -> None:
        """Stop counting a client that has gone, once its last bytes are sent."""
        self._connected.leave(client.id, self._transports.pop(client.id, None))


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
    logger.warning("there is room for clients again; %d idle ones have given way", times)
