"""How many bytes of a request's body wait in this process for a registry that reads slowly."""

from __future__ import annotations

from asyncio import WriteTransport

LITTLE = 16 * 1024
"""At most so many bytes wait when the client is asked for more."""
MUCH = 256 * 1024
"""With more bytes waiting, the proxy stops reading from the client. An HTTP/2 client sends at most
one window of 64 KiB per request before it is asked for more, so its connection never stops."""


def is_there(transport: WriteTransport | None) -> bool:
    """Return whether a connection can take more bytes; True without a connection."""
    return transport is None or transport.get_write_buffer_size() <= LITTLE


def widen(transport: WriteTransport | None) -> None:
    """Let more bytes wait for a registry before the proxy stops reading from the client."""
    if transport is not None:
        transport.set_write_buffer_limits(high=MUCH, low=LITTLE)
