"""The connections of clients, each until its last byte is written.

mitmproxy forgets a client when its answer is complete and its connection is to be closed. Up to
about 300 KiB of the answer may still wait for a client that does not read, and keep the file open;
such a connection still counts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from mitmproxy.connection import Client


@dataclass(slots=True, eq=False)
class Connection:
    """One of them."""

    client: Client
    transport: asyncio.WriteTransport | None
    """None for UDP."""

    def waits(self) -> bool:
        """Return whether bytes wait to be written."""
        return self.transport is not None and self.transport.get_write_buffer_size() > 0


class Connected:
    """All of them."""

    def __init__(self) -> None:
        self._here: dict[str, Connection] = {}
        """By client id."""
        self._leaving: list[Connection] = []
        """Clients that mitmproxy has forgotten, for which bytes waited at the last check."""

    def begin(self, client: Client, transport: asyncio.WriteTransport | None) -> None:
        """Count a client."""
        self._here[client.id] = Connection(client, transport)

    def end(self, client: Client) -> None:
        """Count a client that has gone only until its last byte is written."""
        if (one := self._here.pop(client.id, None)) is not None and one.waits():
            self._leaving.append(one)

    def transport(self, client: Client) -> asyncio.WriteTransport | None:
        """Return the transport of a client; None if it has gone."""
        one = self._here.get(client.id)
        return one.transport if one is not None else None

    def reaches(self, limit: int) -> bool:
        """Return whether at least `limit` connections count."""
        return len(self._here) + len(self._leaving) >= limit and self.count() >= limit

    def count(self) -> int:
        """Return how many connections count."""
        self._leaving = [one for one in self._leaving if one.waits()]
        return len(self._here) + len(self._leaving)

    def waiting(self) -> list[Connection]:
        """Return the connections with bytes that wait to be written."""
        return [one for one in (*self._here.values(), *self._leaving) if one.waits()]
