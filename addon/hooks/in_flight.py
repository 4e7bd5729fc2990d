"""The requests in flight, and how many bytes of their bodies are held in memory.

mitmproxy is done with a request when its answer is complete. Up to all of the answer may still wait
in memory for a client that does not read. So a request and its bytes count until the client's
connection has taken all bytes written to it. That is checked when a limit is reached, not for each
request.

Small bodies are not counted: each request in flight (`limits.flows` of them) holds only a few.
"""

from __future__ import annotations

from asyncio import WriteTransport


class InFlight:
    """Counts requests and held bytes, by the ids of requests."""

    def __init__(self) -> None:
        self._served: dict[str, int] = {}
        """The bytes that each request holds."""
        self._unsent: dict[str, tuple[WriteTransport, int]] = {}
        """For finished requests, their connections and held bytes at the last check."""
        self._held = 0

    def __contains__(self, key: str) -> bool:
        return key in self._served

    def begin(self, key: str) -> None:
        """Count a request."""
        self._served.setdefault(key, 0)

    def hold(self, key: str, size: int, limit: int) -> bool:
        """Hold more bytes of a request (fewer if negative); return whether there is room.

        Args:
            key: the request's id; one that does not count holds nothing either.
            size: bytes.
            limit: bytes, over all requests.
        """
        if key not in self._served:
            return True
        if size > 0 and self._held + size > limit and self.held() + size > limit:
            return False
        self._served[key] += size
        self._held += size
        return True

    def end(self, key: str, transport: WriteTransport | None) -> None:
        """Count a finished request only until its answer is sent.

        Args:
            key: the request's id.
            transport: the connection of its client, None if that has gone.
        """
        if (size := self._served.pop(key, None)) is None:
            return
        if transport is None:
            self._held -= size
        else:
            self._unsent[key] = transport, size

    def reaches(self, limit: int) -> bool:
        """Return whether at least `limit` requests are in flight."""
        if len(self._served) + len(self._unsent) < limit:
            return False
        return self.count() >= limit

    def count(self) -> int:
        """Return how many requests are in flight."""
        before, self._unsent = self._unsent, {}
        for key, (transport, size) in before.items():
            waiting = transport.get_write_buffer_size()
            left = min(size, waiting)
            self._held -= size - left
            if waiting:
                self._unsent[key] = transport, left
        return len(self._served) + len(self._unsent)

    def held(self) -> int:
        """Return how many bytes are held."""
        self.count()
        return self._held
