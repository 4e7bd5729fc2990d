"""The way to mitmproxy's records of its connections, which its hooks do not give away.

mitmproxy/proxy/server.py keeps one per client, with all that belongs to it. Where nothing is found,
nothing is done: a replayed flow has no client.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from mitmproxy import ctx
from mitmproxy.connection import Client, Connection, Server


def handlers() -> list[Any]:
    """The records of all clients."""
    return [*_by_client().values()]


def handler(client: Client) -> Any | None:
    """The record of a client."""
    return _by_client().get(client.id)


def io(client: Client, connection: Connection) -> Any | None:
    """Reader, writer and task of a client's connection, or of one upstream for it."""
    record = handler(client)
    return record.transports.get(connection) if record else None


def close(client: Client) -> None:
    """Close a client's connection, as mitmproxy does it in `on_timeout`."""
    if (found := io(client, client)) is not None and found.handler is not None:
        found.handler.cancel("closed by an addon")


def reset_at_end(client: Client) -> None:
    """Let the connection end with a reset when it is closed, which loses what is not sent yet."""
    if (found := io(client, client)) is not None and isinstance(found.writer, asyncio.StreamWriter):
        connection = found.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def forget(client: Client, connection: Connection) -> None:
    """Drop what is kept of an attempt to connect that has failed, until the client goes away."""
    if (record := handler(client)) is not None:
        record.transports.pop(connection, None)


def count_upstream() -> int:
    """How many connections to upstreams are open, or being made."""
    return sum(isinstance(one, Server) for record in handlers() for one in record.transports)


def _by_client() -> dict[Any, Any]:
    proxyserver = ctx.master.addons.get("proxyserver")
    return proxyserver.connections if proxyserver else {}
