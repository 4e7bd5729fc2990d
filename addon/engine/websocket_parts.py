"""How many bytes of a WebSocket message that has not ended are in memory."""

from __future__ import annotations

from typing import Any

PART = 64
"""Bytes that a part takes besides its content."""

LARGE = 4 * 1024
"""Bytes of an incomplete part from which on it is a bytearray."""


class Parts:
    """The parts of a message that mitmproxy's layer collects until the last one arrives.

    Args:
        side: mitmproxy's record of the sender; its `frame_buf` is a new list for each message.
    """

    def __init__(self, side: Any) -> None:
        self._side = side
        self._parts: list[bytes | bytearray] = []
        self._complete = 0
        """The number of parts in `_bytes`; the last one may still grow."""
        self._bytes = 0

    def size(self) -> int:
        """Return the bytes held, and make sure that no further byte copies all before it.

        Parts that were complete at the last call are not read again.
        """
        parts = self._side.frame_buf
        if parts is not self._parts:
            self._parts, self._complete, self._bytes = parts, 0, 0
        if len(parts[-1]) > LARGE and isinstance(parts[-1], bytes):
            parts[-1] = bytearray(parts[-1])  # The layer appends with `+=`.
        complete = len(parts) - 1
        self._bytes += sum(PART + len(part) for part in parts[self._complete : complete])
        self._complete = complete
        return self._bytes + len(parts[-1])
