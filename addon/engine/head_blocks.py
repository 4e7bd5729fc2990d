"""Track incomplete heads on an HTTP/2 connection: hyper-h2 reports only complete ones.

A head is a HEADERS frame and any number of CONTINUATION frames (RFC 9113, section 6.10). A part of
any other frame counts too, except DATA: bodies have their own limit.
"""

from __future__ import annotations

from .frames import HTTP2_PREFACE

_HEAD = 9
"""Length of a frame's head in bytes (section 4.1)."""
_DATA, _HEADERS, _CONTINUATION = 0, 1, 9
_END_HEADERS = 4


class HeadBlocks:
    """Reads only the heads of frames."""

    def __init__(self) -> None:
        self._left = HTTP2_PREFACE
        """Bytes of the current frame that are still to come."""
        self._begun = b""
        """The first bytes of the next frame's head."""
        self._open = False
        """Whether a CONTINUATION frame must follow."""
        self._body = False
        """Whether the current frame is DATA."""
        self._number = 0
        self.size = 0
        """Bytes of the incomplete head or frame."""

    def feed(self, data: bytes) -> None:
        """Take bytes from the client."""
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                at, self._left = at + step, self._left - step
                if not self._body:
                    self.size += step
                if not self._left:
                    self._end()
                continue
            step = _HEAD - len(self._begun)
            self._begun += data[at : at + step]
            at += step
            if len(self._begun) == _HEAD:
                self._read()

    def unfinished(self) -> int | None:
        """Return a number that identifies the incomplete head or frame; None if there is none."""
        incomplete = self._open or self._begun or (self._left and not self._body)
        return self._number if incomplete else None

    def _read(self) -> None:
        head, self._begun = self._begun, b""
        kind, flags = head[3], head[4]
        self._left = int.from_bytes(head[:3])
        self._body = kind == _DATA
        if kind in (_HEADERS, _CONTINUATION):
            self._open = not flags & _END_HEADERS
        if not self._left:
            self._end()

    def _end(self) -> None:
        self._body = False
        if not self._open:
            self._number += 1
            self.size = 0
