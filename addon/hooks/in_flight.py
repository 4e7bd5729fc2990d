"""The requests that are served at once: until the last byte of the answer is written.

mitmproxy is done with a request when its answer is complete. Up to all of that may still wait in
memory for a client that does not read. So a request counts until the client's connection has
taken what was written to it. That is looked at when the limit is met, not for each request.
"""

from __future__ import annotations

from typing import Protocol


class Transport(Protocol):
    """A client's connection, as asyncio has it."""

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be written."""


class InFlight:
    """Counts requests, by their ids."""

    def __init__(self) -> None:
        self._served: set[str] = set()
        self._unsent: dict[str, Transport] = {}
        """Connections of those that are over, at the last look."""

    def __contains__(self, key: str) -> bool:
        return key in self._served

    def begin(self, key: str) -> None:
        """A request is served."""
        self._served.add(key)

    def end(self, key: str, transport: Transport | None) -> None:
        """It is over.

        Args:
            key: its id.
            transport: the connection of its client, None if that has gone.
        """
        if key in self._served:
            self._served.discard(key)
            if transport is not None:
                self._unsent[key] = transport

    def reaches(self, limit: int) -> bool:
        """Tell whether so many are served."""
        if len(self._served) + len(self._unsent) < limit:
            return False
        return self.count() >= limit

    def count(self) -> int:
        """How many are served."""
        self._unsent = {
            key: transport
            for key, transport in self._unsent.items()
            if transport.get_write_buffer_size()
        }
        return len(self._served) + len(self._unsent)
