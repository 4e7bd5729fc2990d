"""How much of bodies is held in memory at once, of all requests together.

Small bodies are not counted: of those each of the requests that are served at once (`limits.flows`)
holds a few. An answer counts until its client has taken it, which is looked at when that matters.
"""

from __future__ import annotations

from .in_flight import Transport

_MANY = 64
"""Answers on their way, after which it is looked whether they have been taken."""


class Held:
    """Counts bytes, by the ids of flows."""

    def __init__(self) -> None:
        self._size = 0
        self._flows: dict[str, int] = {}
        self._leaving: list[tuple[Transport, int]] = []
        """Connections of those that are over, with what may wait there, at the last look."""
        self._look_at = _MANY

    def take(self, key: str, size: int, limit: int) -> bool:
        """Hold more bytes of a flow, or fewer (below 0), if there is room for them.

        Args:
            key: its id.
            size: bytes.
            limit: of all together.
        """
        if size > 0 and self._size + size > limit:
            self._look()
            if self._size + size > limit:
                return False
        self._flows[key] = self._flows.get(key, 0) + size
        self._size += size
        return True

    def leave(self, key: str, transport: Transport | None) -> None:
        """A flow is over.

        Args:
            key: its id.
            transport: the connection of its client, None if that has gone.
        """
        if not (size := self._flows.pop(key, 0)):
            return
        if transport is None:
            self._size -= size
            return
        self._leaving.append((transport, size))
        if len(self._leaving) >= self._look_at:
            self._look()
            self._look_at = max(_MANY, 2 * len(self._leaving))

    def size(self) -> int:
        """How many bytes are held."""
        self._look()
        return self._size

    def _look(self) -> None:
        leaving = []
        for transport, size in self._leaving:
            if left := min(size, transport.get_write_buffer_size()):
                leaving.append((transport, left))
            self._size -= size - left
        self._leaving = leaving
