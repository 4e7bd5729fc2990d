"""How many bytes of bodies are held in memory at once, over all requests.

Small bodies are not counted: each request in flight (`limits.flows` of them) holds only a few. An
answer counts until its client has taken it; that is checked only when the count matters.
"""

from __future__ import annotations

from .in_flight import Transport

_MANY = 64
"""With so many answers on their way, check whether clients have taken them."""


class Held:
    """Counts bytes by flow id."""

    def __init__(self) -> None:
        self._size = 0
        self._flows: dict[str, int] = {}
        self._leaving: list[tuple[Transport, int]] = []
        """Connections of finished flows, each with the unsent bytes at the last check."""
        self._look_at = _MANY

    def take(self, key: str, size: int, limit: int) -> bool:
        """Hold more bytes of a flow (fewer if negative); return whether there is room.

        Args:
            key: the flow's id.
            size: bytes.
            limit: bytes, over all flows.
        """
        if size > 0 and self._size + size > limit:
            self._look()
            if self._size + size > limit:
                return False
        self._flows[key] = self._flows.get(key, 0) + size
        self._size += size
        return True

    def leave(self, key: str, transport: Transport | None) -> None:
        """Count a finished flow only until its client has taken the answer.

        Args:
            key: the flow's id.
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
        """Return how many bytes are held."""
        self._look()
        return self._size

    def _look(self) -> None:
        leaving = []
        for transport, size in self._leaving:
            if left := min(size, transport.get_write_buffer_size()):
                leaving.append((transport, left))
            self._size -= size - left
        self._leaving = leaving
