"""Find the ends of frames, so that input can be read in portions of a few frames."""

from __future__ import annotations

from collections.abc import Callable

FRAMES_AT_ONCE = 4
"""Frames in one portion."""


Length = Callable[[bytes, int], int | None]
"""Returns the length of the frame at an index in bytes; None while its head is incomplete."""


class Frames:
    """The frames from one side.

    Args:
        length: reads the head of a frame.
        first: bytes that come before the first frame.
    """

    def __init__(self, length: Length, first: int = 0) -> None:
        self._length = length
        self._left = first
        """Bytes of the current frame that are still to come."""

    def portion(self, data: bytes) -> int:
        """Return the length of the next portion; 0 while the head of a frame is incomplete.

        Args:
            data: all bytes received after the last portion.
        """
        at = 0
        for _ in range(FRAMES_AT_ONCE):
            if not self._left:
                if (length := self._length(data, at)) is None:
                    break
                self._left = length
            step = min(self._left, len(data) - at)
            at += step
            self._left -= step
            if self._left:
                break
        return at


HTTP2_PREFACE = 24
"""Bytes that an HTTP/2 client sends first (RFC 9113, section 3.4)."""


def http2_length(data: bytes, at: int) -> int | None:
    """Return the length of an HTTP/2 frame (RFC 9113, section 4.1)."""
    return 9 + int.from_bytes(data[at : at + 3]) if len(data) - at >= 9 else None


def websocket_length(data: bytes, at: int) -> int | None:
    """Return the length of a WebSocket frame (RFC 6455, section 5.2)."""
    if len(data) - at < 2:
        return None
    more = {126: 2, 127: 8}.get(length := data[at + 1] & 127, 0)
    if len(data) - at < 2 + more:
        return None
    if more:
        length = int.from_bytes(data[at + 2 : at + 2 + more])
    return 2 + more + (4 if data[at + 1] & 128 else 0) + length
