"""HTTP/1 heads: read strictly by the grammar (RFC 9112), or refused.

A server before or after the proxy may read a malformed head differently, and a second request can
hide in the difference (RFC 9112, section 11.2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..protocol import hop_by_hop
from ..protocol.framing import content_length
from ..protocol.headers import TOKEN, VISIBLE, Fields, Pairs, read
from .readers import BrokenError

_LINE = rb"%s:[\t -~\x80-\xff]*\r\n" % TOKEN
_REQUEST = re.compile(rb"(%s) (%s+) HTTP/1\.([01])\r\n((?:%s)*)\r\n" % (TOKEN, VISIBLE, _LINE))
_RESPONSE = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([^\r\n\0]*))?\r?\n((?:%s:[^\r\n\0]*\r?\n)*)\r?\n" % TOKEN
)
_FIELD = re.compile(
    rb"(%s):[\t ]*((?:%s(?:[\t -~\x80-\xff]*%s)?)?)[\t ]*\r\n" % (TOKEN, VISIBLE, VISIBLE)
)
# Upstreams may be more lenient, but clients must not be able to read a field in two ways.
_ANY_FIELD = re.compile(rb"(%s):([^\r\n]*)\r?\n" % TOKEN)
_END = re.compile(rb"\n\r?\n")
_LEADING = re.compile(rb"(?:\r\n)*")


@dataclass(slots=True)
class RequestHead:
    """The head of a request."""

    method: bytes
    target: bytes
    version: bytes
    """HTTP/1.0 or HTTP/1.1."""
    pairs: Pairs
    fields: Fields


@dataclass(slots=True)
class ResponseHead:
    """The head of a response."""

    version: bytes
    status: int
    reason: bytes
    pairs: Pairs
    fields: Fields


UNCOUNTED = 4 * 1024
"""Bytes of a head without its end that a connection may always hold, uncounted."""


class Begun:
    """The beginning of a head that arrives in small portions.

    A new portion is appended, and the search for the end of the head continues from there.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        """All bytes so far."""

    def begin(self, data: bytes) -> None:
        """Keep the beginning of an incomplete head."""
        self.data = bytearray(data)

    def more(self, data: bytes, limit: int) -> bytes | None:
        """Append more bytes.

        Returns:
            All bytes, which are then dropped here, if the head is complete or too long.
        """
        searched = len(self.data)
        self.data += data
        if len(self.data) <= limit and end(self.data, searched) is None:
            return None
        whole, self.data = bytes(self.data), bytearray()
        return whole


def empty_lines(data: bytes | bytearray) -> int:
    """Return the length of the empty lines before a request, to ignore (RFC 9112, section 2.2)."""
    if data[:1] != b"\r":
        return 0
    found = _LEADING.match(data)
    return found.end() if found else 0


def end(data: bytes | bytearray, searched: int = 0) -> int | None:
    """Return where a head ends; None while it is incomplete.

    Args:
        data: all bytes so far.
        searched: how many of them were there at the last search.
    """
    found = _END.search(data, max(0, searched - 3))
    return found.end() if found else None


def read_request(head: bytes) -> RequestHead:
    """Read the head of a request.

    Raises:
        BrokenError: it is malformed.
    """
    found = _REQUEST.fullmatch(head)
    if found is None:
        raise BrokenError("a malformed head")
    method, target, minor, lines = found.groups()
    pairs = tuple(_FIELD.findall(lines))
    version = b"HTTP/1.1" if minor == b"1" else b"HTTP/1.0"
    return RequestHead(method, target, version, pairs, read(pairs))


def read_response(head: bytes) -> ResponseHead:
    """Read the head of a response; see `read_request`."""
    found = _RESPONSE.fullmatch(head)
    if found is None:
        raise BrokenError("a malformed head")
    minor, status, reason, lines = found.groups()
    pairs = tuple((name, value.strip()) for name, value in _ANY_FIELD.findall(lines))
    version = b"HTTP/1.1" if minor == b"1" else b"HTTP/1.0"
    return ResponseHead(version, int(status), reason or b"", pairs, read(pairs))


def write(line: bytes, pairs: Pairs) -> bytes:
    """Return a whole head.

    Args:
        line: the first line, without its CRLF.
        pairs: the header fields.
    """
    fields = b"".join([b"%s: %s\r\n" % pair for pair in pairs])
    return b"%s\r\n%s\r\n" % (line, fields)


def closes(version: bytes, fields: Fields) -> bool:
    """Return whether a connection is closed after a message (RFC 9112, section 9.3)."""
    value = fields.get(b"connection")
    if value is None:
        return version != b"HTTP/1.1"
    if value == b"keep-alive":
        return False
    options = hop_by_hop.options([value])
    return b"close" in options or (version != b"HTTP/1.1" and b"keep-alive" not in options)


def framing(fields: Fields, version: bytes) -> int | None:
    """Return how the body of a message is framed (RFC 9112, section 6).

    Args:
        fields: the header fields.
        version: the HTTP version of the message.

    Returns:
        The length; 0 without a Content-Length, and None for chunks.

    Raises:
        BrokenError: recipients could disagree about the framing.
    """
    coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
    if coding is not None:
        if coding.lower() != b"chunked":
            raise BrokenError("an unknown transfer coding")
        if length is not None or version == b"HTTP/1.0":
            raise BrokenError("an ambiguous transfer coding")
        return None
    if length is None:
        return 0
    if (size := content_length(length)) is None:
        raise BrokenError("a malformed length")
    return size
