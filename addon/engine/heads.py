"""HTTP/1 heads: read as the grammar has it (RFC 9112), or not at all.

A server before or behind the proxy may read a lenient head otherwise, and a second request hides in
the difference (RFC 9112, section 11.2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..protocol.headers import Fields, read

Pairs = tuple[tuple[bytes, bytes], ...]
"""Header fields in their order, with names as they came and values without white space around."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_VISIBLE = rb"[!-~\x80-\xff]"
_LINE = rb"%s:[\t -~\x80-\xff]*\r\n" % _TOKEN
_REQUEST = re.compile(rb"(%s) (%s+) HTTP/1\.([01])\r\n((?:%s)*)\r\n" % (_TOKEN, _VISIBLE, _LINE))
_RESPONSE = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([^\r\n\0]*))?\r?\n((?:%s:[^\r\n\0]*\r?\n)*)\r?\n" % _TOKEN
)
_FIELD = re.compile(
    rb"(%s):[\t ]*((?:%s(?:[\t -~\x80-\xff]*%s)?)?)[\t ]*\r\n" % (_TOKEN, _VISIBLE, _VISIBLE)
)
# Of an upstream more is taken, but nothing that a client could read in two ways.
_ANY_FIELD = re.compile(rb"(%s):([^\r\n]*)\r?\n" % _TOKEN)
_END = re.compile(rb"\n\r?\n")
_LEADING = re.compile(rb"(?:\r\n)*")
# More digits than Python reads, or zeros in front, are nobody's.
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,18}")


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


class Begun:
    """The beginning of a head that comes in small portions.

    They are not joined, nor searched for the end of the head, anew for each of them.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        """All of it so far."""

    def begin(self, data: bytes) -> None:
        """This has come, and is not all of it."""
        self.data = bytearray(data)

    def more(self, data: bytes, limit: int) -> bytes | None:
        """More has come.

        Returns:
            All that has come, if the head is complete in it or too long; it is forgotten then.
        """
        searched = len(self.data)
        self.data += data
        if len(self.data) <= limit and end(self.data, searched) is None:
            return None
        whole, self.data = bytes(self.data), bytearray()
        return whole


def empty_lines(data: bytes | bytearray) -> int:
    """How many bytes of empty lines a server ignores before a request (RFC 9112, section 2.2)."""
    if data[:1] != b"\r":
        return 0
    found = _LEADING.match(data)
    return found.end() if found else 0


def end(data: bytes | bytearray, searched: int = 0) -> int | None:
    """Where a head ends; None while it has not.

    Args:
        data: what has come.
        searched: how many bytes of it were there at the last search.
    """
    found = _END.search(data, max(0, searched - 3))
    return found.end() if found else None


def read_request(head: bytes) -> RequestHead | None:
    """Read the head of a request; None if it is malformed."""
    found = _REQUEST.fullmatch(head)
    if found is None:
        return None
    method, target, minor, lines = found.groups()
    pairs = tuple(_FIELD.findall(lines))
    version = b"HTTP/1.1" if minor == b"1" else b"HTTP/1.0"
    return RequestHead(method, target, version, pairs, read(pairs))


def read_response(head: bytes) -> ResponseHead | None:
    """Read the head of a response; None if it is malformed."""
    found = _RESPONSE.fullmatch(head)
    if found is None:
        return None
    minor, status, reason, lines = found.groups()
    pairs = tuple((name, value.strip()) for name, value in _ANY_FIELD.findall(lines))
    version = b"HTTP/1.1" if minor == b"1" else b"HTTP/1.0"
    return ResponseHead(version, int(status), reason or b"", pairs, read(pairs))


def write(line: bytes, pairs: Pairs) -> bytes:
    """A whole head from its first line, without its end, and its fields."""
    fields = b"".join([b"%s: %s\r\n" % pair for pair in pairs])
    return b"%s\r\n%s\r\n" % (line, fields)


def closes(version: bytes, fields: Fields) -> bool:
    """Tell whether a connection ends behind a message (RFC 9112, section 9.3)."""
    value = fields.get(b"connection")
    if value is None:
        return version != b"HTTP/1.1"
    if value == b"keep-alive":
        return False
    options = [option.strip() for option in value.lower().split(b",")]
    return b"close" in options or (version != b"HTTP/1.1" and b"keep-alive" not in options)


def framing(fields: Fields, version: bytes) -> int | None:
    """How the body of a message is framed (RFC 9112, section 6).

    Args:
        fields: the header fields.
        version: of the message.

    Returns:
        The length; 0 if none is named, and None for chunks.

    Raises:
        ValueError: servers and clients could differ about it.
    """
    coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
    if coding is not None:
        if coding.lower() != b"chunked":
            raise ValueError("an unknown transfer coding")
        if length is not None or version == b"HTTP/1.0":
            raise ValueError("an ambiguous transfer coding")
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise ValueError("a malformed length")
    return int(length)
