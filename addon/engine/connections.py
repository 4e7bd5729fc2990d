"""Access to mitmproxy's records of its connections, which its hooks do not pass on.

mitmproxy/proxy/server.py keeps one record per client. Functions here do nothing without a record: a
replayed flow has no client.
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

from ..internals.place import Part
from ..internals.still_there import lacks
from . import plug
from .layer import Engine
from .top_layer import TopLayer

_NEVER = 100 * 365 * 86400
"""Seconds."""


def handlers() -> list[Any]:
    """Return the records of all clients."""
    return [*_by_client().values()]


def handler(client: Client) -> Any | None:
    """Return the record of a client; None if it has gone."""
    return _by_client().get(client.id)


def io(client: Client, connection: Connection) -> Any | None:
    """Return reader, writer and task of a client's connection, or of its upstream connection."""
    record = handler(client)
    return record.transports.get(connection) if record else None


def transport(
    client: Client, connection: Connection | None = None
) -> asyncio.WriteTransport | None:
    """Return the transport of a client, or of its upstream connection, if it is connected."""
    writer = getattr(io(client, connection or client), "writer", None)
    return writer.transport if isinstance(writer, asyncio.StreamWriter) else None


def close(client: Client) -> None:
    """Close a client's connection, as mitmproxy does in `on_timeout`."""
    if (found := io(client, client)) is not None and found.handler is not None:
        found.handler.cancel("closed by an addon")


def put_watchdog_off(client: Client) -> bool:
    """Disable mitmproxy's limit for silent connections; return whether there is one.

    `silence` describes what the watchdog counts.
    """
    if (watchdog := _watchdog(client)) is not None:
        watchdog.timeout = _NEVER
    return watchdog is not None


def silence(client: Client) -> float | None:
    """Return for how many seconds a client and its upstreams have been silent; None if it has gone.

    While an addon handles a hook, the time is 0.
    """
    watchdog = _watchdog(client)
    if watchdog is None:
        return None
    return 0.0 if watchdog.blocker else time.time() - watchdog.last_activity


def idle_since(record: Any) -> float | None:
    """Return when an idle client was last active, in seconds since 1970.

    Args:
        record: mitmproxy's record of the client.

    Returns:
        None if it is busy, has not taken all of its answers, or has gone.
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
    """Return whether a client has begun a request that is not over."""
    if (engine := engine_of(client)) is not None:
        return engine.at_work
    for layer in _http_layers(client):
        if lacks(Part.OTHER_MODES):
            return True  # Unknown: assume it is.
        protocol = layer.connections.get(client)
        # These belong to `Http1Server`; for HTTP/2 and HTTP/3, `streams` is enough.
        at_work = getattr(protocol, "request", None) is not None or getattr(protocol, "buf", False)
        return bool(layer.streams or at_work)
    return False


def flows(client: Client) -> list[HTTPFlow]:
    """Return the flows that a client has in flight."""
    if (engine := engine_of(client)) is not None:
        return engine.flows()
    if lacks(Part.OTHER_MODES):
        return []
    streams = (stream for layer in _http_layers(client) for stream in layer.streams.values())
    return [stream.flow for stream in streams if hasattr(stream, "flow")]


def engine_of(client: Client) -> Engine | None:
    """Return the engine that serves a client; None if there is none yet, as before any bytes."""
    engine = next((layer for layer in _layers(client) if isinstance(layer, Engine)), None)
    return engine if engine is not None and engine.has_begun else None


def top_layer(client: Client) -> TopLayer | None:
    """Return a client's topmost layer; None if it is mitmproxy's own."""
    top = getattr(handler(client), "layer", None)
    return top if isinstance(top, TopLayer) else None


def _http_layers(client: Client) -> list[HttpLayer]:
    return [layer for layer in _layers(client) if isinstance(layer, HttpLayer)]


def _layers(client: Client) -> list[Any]:
    record = handler(client)
    return record.layer.context.layers if record else []


def _watchdog(client: Client) -> Any | None:
    """Return a client's `TimeoutWatchdog` (mitmproxy/proxy/server.py), if it is as expected."""
    watchdog = getattr(handler(client), "timeout_watchdog", None)
    known = all(hasattr(watchdog, name) for name in ("timeout", "last_activity", "blocker"))
    return watchdog if known else None


def reset_at_end(client: Client) -> None:
    """Make the close of a connection a reset, which drops bytes that are not sent yet."""
    if (found := transport(client)) is not None:
        _let_end_be_a_reset(found)


def reset(writes: asyncio.WriteTransport) -> None:
    """Reset a connection at once, even if mitmproxy has closed and forgotten it."""
    _let_end_be_a_reset(writes)
    writes.abort()


def _let_end_be_a_reset(writes: asyncio.WriteTransport) -> None:
    connection = writes.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def forget(client: Client, connection: Connection) -> None:
    """Drop the record of a failed connection; mitmproxy keeps it until the client goes."""
    if (record := handler(client)) is not None:
        record.transports.pop(connection, None)


def count_upstream() -> int:
    """Return how many connections to upstreams are open or being opened."""
    return sum(isinstance(one, Server) for record in handlers() for one in record.transports)


def _by_client() -> dict[Any, Any]:
    proxyserver = ctx.master.addons.get("proxyserver")
    return proxyserver.connections if proxyserver else {}
