"""The bodies of HTTP/1 messages: where they end, by length, chunks or the end of the connection.

A reader takes bytes as they arrive and returns those that belong to the body. Bytes after the body,
and an incomplete line of a chunked body, stay in `rest`.
"""

from __future__ import annotations

import re
from typing import Protocol

from ..protocol.headers import TOKEN

LINE_LIMIT = 2**14
"""Limit in bytes for a chunk's first line, and for all trailers."""
CHUNKS_AT_ONCE = 256
"""Chunks that are read at once: the other side may send chunks of one byte (see `turns`)."""

# Longer sizes do not fit into 64 bits, and some servers would truncate them.
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[\t ]*(?:;[\t -~\x80-\xff]*)?\r\n")
_TRAILER = re.compile(rb"%s:[\t -~\x80-\xff]*\r\n" % TOKEN)

LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return a part of a body as a chunk, in one piece: each write is a system call."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class BrokenError(ValueError):
    """A message is malformed, or its framing is ambiguous."""


class Reader(Protocol):
    """Reads one body."""

    done: bool
    """Whether its end was read."""
    rest: bytes
    """Bytes not read yet: those after the body, or those to read in the next turn."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes, and return those of the body; `rest` holds the others.

        Raises:
            BrokenError: the framing is broken.
        """

    def end(self) -> None:
        """Take the end of the connection.

        Raises:
            BrokenError: the body is not complete.
        """


class Length:
    """A body of a known length (RFC 9112, section 6.2)."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = not length
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """See `Reader`."""
        if len(data) > self._left:
            data, self.rest = data[: self._left], data[self._left :]
        else:
            self.rest = b""
        self._left -= len(data)
        self.done = not self._left
        return data

    def end(self) -> None:
        """See `Reader`."""
        if not self.done:
            raise BrokenError("the connection was closed in the middle of a body")


class UntilEnd:
    """A body that ends with its connection (RFC 9112, section 6.3, the last case)."""

    def __init__(self) -> None:
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """See `Reader`."""
        return data

    def end(self) -> None:
        """See `Reader`."""
        self.done = True


class Chunked:
    """A body in chunks (RFC 9112, section 7.1).

    A chunk ends with CRLF and nothing else, its first line and the trailers are bounded, and
    trailers are dropped (RFC 9110, section 6.5.1).
    """

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        self._left = 0
        """Bytes of the chunk that are still to come, including the CRLF after it."""
        self._trailers: int | None = None
        """Bytes of trailers so far; None before the last chunk."""

    def feed(self, data: bytes) -> bytes:
        """See `Reader`."""
        parts: list[bytes] = []
        at = 0
        for _ in range(CHUNKS_AT_ONCE):
            if self._left:
                at = self._read_data(data, at, parts)
                if self._left:
                    break
            if self._trailers is not None:
                at = self._skip_trailers(data, at)
                break
            line = _CHUNK.match(data, at)
            if line is None:
                self._check_line(data, at)
                break
            at = line.end()
            size = int(line[1], 16)
            if size:
                self._left = size + 2
            else:
                self._trailers = 0
        self.rest = data[at:]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def end(self) -> None:
        """See `Reader`."""
        if not self.done:
            raise BrokenError("the connection was closed in the middle of a chunked body")

    def _read_data(self, data: bytes, at: int, parts: list[bytes]) -> int:
        content = self._left - 2
        if content > 0:
            part = data[at : at + content]
            if part:
                parts.append(part)
            at += len(part)
            self._left -= len(part)
        while 0 < self._left <= 2 and at < len(data):
            if data[at] != (13 if self._left == 2 else 10):
                raise BrokenError("a chunk is longer than it says")
            at += 1
            self._left -= 1
        return at

    def _check_line(self, data: bytes, at: int) -> None:
        """Raise BrokenError if no further bytes can complete a chunk's first line."""
        if len(data) - at > LINE_LIMIT or data.find(b"\n", at) >= 0:
            raise BrokenError("a malformed chunk")

    def _skip_trailers(self, data: bytes, at: int) -> int:
        while (end := data.find(b"\n", at) + 1) > 0:
            line = data[at:end]
            at = end
            if line == b"\r\n":
                self.done = True
                return at
            self._trailers = (self._trailers or 0) + len(line)
            if self._trailers > LINE_LIMIT or not _TRAILER.fullmatch(line):
                raise BrokenError("a malformed trailer")
        if len(data) - at > LINE_LIMIT:
            raise BrokenError("a trailer without an end")
        return at
