"""The requests in flight, and how many bytes of bodies and of unfinished heads are in memory.

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
        self._heads: dict[str, int] = {}
        """The bytes of heads that have begun, by client id."""
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
        if not self._is_room(size, limit):
            return False
        self._served[key] += size
        self._held += size
        return True

    def hold_head(self, key: str, size: int, limit: int) -> bool:
        """Hold the bytes of a head, in place of those before; return whether there is room.

        Args:
            key: the client's id: it sends one head at a time.
            size: bytes so far; 0 when the head is complete or dropped.
            limit: bytes, over all requests and heads.
        """
        more = size - self._heads.get(key, 0)
        if not self._is_room(more, limit):
            return False
        self._held += more
        if size:
            self._heads[key] = size
        else:
            self._heads.pop(key, None)
        return True

    def _is_room(self, more: int, limit: int) -> bool:
        return more <= 0 or self._held + more <= limit or self.held() + more <= limit

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
