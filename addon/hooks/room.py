"""How much of a request's body waits in this process for a registry that is slow to read it."""

from __future__ import annotations

import asyncio
from typing import Any

LITTLE = 16 * 1024
"""Bytes that may wait when more is asked for."""
MUCH = 256 * 1024
"""Bytes beyond which nothing is read of a client. One by HTTP/2 sends no more than one window of
64 KiB for each request before it is asked for more, and so is never stopped as a whole."""


def is_there(io: Any | None) -> bool:
    """Tell whether a connection takes more; one that is not there takes anything.

    Args:
        io: mitmproxy's record of it (see `connections.io`).
    """
    transport = _transport(io)
    return transport is None or transport.get_write_buffer_size() <= LITTLE


def widen(io: Any | None) -> None:
    """Let more wait for a connection to a registry before its client is not read any more."""
    if (transport := _transport(io)) is not None:
        transport.set_write_buffer_limits(high=MUCH, low=LITTLE)


def _transport(io: Any | None) -> asyncio.WriteTransport | None:
    writer = getattr(io, "writer", None)
    return writer.transport if isinstance(writer, asyncio.StreamWriter) else None
