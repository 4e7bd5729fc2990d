"""The way to mitmproxy's records of its connections, which its hooks do not give away.

mitmproxy/proxy/server.py keeps one per client, with all that belongs to it. Where nothing is found,
nothing is done: a replayed flow has no client.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import Any

from mitmproxy import ctx
from mitmproxy.connection import Client, Connection, Server
from mitmproxy.http import HTTPFlow
from mitmproxy.proxy.layers.http import HttpLayer

from ..internals.reached_into import Part
from ..internals.still_there import lacks
from . import plug
from .layer import Engine

_NEVER = 100 * 365 * 86400
"""Seconds."""


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


def transport(client: Client) -> asyncio.WriteTransport | None:
    """What writes to a client, if it is there."""
    writer = getattr(io(client, client), "writer", None)
    return writer.transport if isinstance(writer, asyncio.StreamWriter) else None


def close(client: Client) -> None:
    """Close a client's connection, as mitmproxy does it in `on_timeout`."""
    if (found := io(client, client)) is not None and found.handler is not None:
        found.handler.cancel("closed by an addon")


def put_watchdog_off(client: Client) -> bool:
    """Let mitmproxy's own limit for silence never be reached; tells whether there is one.

    What the watchdog counts is described at `silence`.
    """
    watchdog = _watchdog(client)
    if watchdog is None:
        return False
    watchdog.timeout = _NEVER
    return True


def silence(client: Client) -> float | None:
    """Seconds for which nothing was read from a client or its upstreams; None if it has gone.

    While an addon is asked about something, nobody is silent.
    """
    watchdog = _watchdog(client)
    if watchdog is None:
        return None
    return 0.0 if watchdog.blocker else time.time() - watchdog.last_activity


def idle_since(record: Any) -> float | None:
    """When an idle client was last active, in seconds since 1970.

    Args:
        record: of the client.

    Returns:
        None if it is in the middle of something, has not taken all of its answers, or has gone.
    """
    client, watchdog = record.client, record.timeout_watchdog
    if watchdog.blocker or not plug.serves(client):
        return None
    if (found := transport(client)) is None or found.is_closing():
        return None
    if found.get_write_buffer_size() or is_busy(client):
        return None
    return float(watchdog.last_activity)


def is_busy(client: Client) -> bool:
    """Tell whether a client has begun a request that is not over."""
    if (engine := engine_of(client)) is not None:
        return engine.at_work
    for layer in _http_layers(client):
        if lacks(Part.OTHER_MODES):
            return True  # Who knows.
        protocol = layer.connections.get(client)
        # These belong to `Http1Server`; by HTTP/2 and HTTP/3 `streams` tells all.
        at_work = getattr(protocol, "request", None) is not None or getattr(protocol, "buf", False)
        return bool(layer.streams or at_work)
    return False


def flows(client: Client) -> list[HTTPFlow]:
    """What a client has in flight."""
    if (engine := engine_of(client)) is not None:
        return engine.flows()
    if lacks(Part.OTHER_MODES):
        return []
    streams = (stream for layer in _http_layers(client) for stream in layer.streams.values())
    return [stream.flow for stream in streams if hasattr(stream, "flow")]


def engine_of(client: Client) -> Engine | None:
    """The engine that serves a client; None if it has not said enough for that."""
    record = handler(client)
    layers = record.layer.context.layers if record else []
    return next((layer for layer in layers if isinstance(layer, Engine)), None)


def _http_layers(client: Client) -> list[HttpLayer]:
    record = handler(client)
    layers = record.layer.context.layers if record else []
    return [layer for layer in layers if isinstance(layer, HttpLayer)]


def _watchdog(client: Client) -> Any | None:
    """A client's `TimeoutWatchdog` of mitmproxy/proxy/server.py, as far as it is known here."""
    watchdog = getattr(handler(client), "timeout_watchdog", None)
    known = all(hasattr(watchdog, name) for name in ("timeout", "last_activity", "blocker"))
    return watchdog if known else None


def reset_at_end(client: Client) -> None:
    """Let the connection end with a reset when it is closed, which loses what is not sent yet."""
    if (found := transport(client)) is not None:
        _let_end_be_a_reset(found)


def reset(writes: asyncio.WriteTransport) -> None:
    """End a connection with a reset at once, also one that mitmproxy has closed and forgotten."""
    _let_end_be_a_reset(writes)
    writes.abort()


def _let_end_be_a_reset(writes: asyncio.WriteTransport) -> None:
    connection = writes.get_extra_info("socket")
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
