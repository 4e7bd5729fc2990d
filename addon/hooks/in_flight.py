"""The requests in flight, each until the last byte of its answer is written.

mitmproxy is done with a request when its answer is complete. Up to all of the answer may still wait
in memory for a client that does not read. So a request counts until the client's connection has
taken all bytes written to it. That is checked when the limit is reached, not for each request.
"""

from __future__ import annotations

from typing import Protocol


class Transport(Protocol):
    """A client's asyncio transport."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be written."""


class InFlight:
    """Counts requests by id."""

    def __init__(self) -> None:
        self._served: set[str] = set()
        self._unsent: dict[str, Transport] = {}
        """Connections of finished requests that had unsent bytes at the last check."""

    def __contains__(self, key: str) -> bool:
        return key in self._served

    def begin(self, key: str) -> None:
        """Count a request."""
        self._served.add(key)

    def end(self, key: str, transport: Transport | None) -> None:
        """Count a finished request only until its answer is sent.

        Args:
            key: the request's id.
            transport: the connection of its client, None if that has gone.
        """
        if key in self._served:
            self._served.discard(key)
            if transport is not None:
                self._unsent[key] = transport

    def reaches(self, limit: int) -> bool:
        """Return whether at least `limit` requests are in flight."""
        if len(self._served) + len(self._unsent) < limit:
            return False
        return self.count() >= limit

    def count(self) -> int:
        """Return how many requests are in flight."""
        self._unsent = {
            key: transport
            for key, transport in self._unsent.items()
            if transport.get_write_buffer_size()
        }
        return len(self._served) + len(self._unsent)
