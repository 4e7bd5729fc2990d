"""Which requests can be read in one way only.

mitmproxy reads leniently: a line feed alone ends a line, any white space stands for any other, a
folded header goes on as it came. Where a server before or behind the proxy reads otherwise, the
two disagree on where a request ends, and a second one hides in the difference (RFC 9112, section
11.2). So a request is read as the grammar has it, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NoReturn

import h11
from h11._receivebuffer import ReceiveBuffer

from . import hop_by_hop

LINE_LIMIT = 2**14
"""Bytes of a chunk's first line, and of all trailers."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_VALUE = rb"[\t -~\x80-\xff]*"
_VISIBLE = rb"[!-~\x80-\xff]"
_FIELD = rb"%s:%s\r\n" % (_TOKEN, _VALUE)
_REQUEST_HEAD = re.compile(rb"%s %s+ HTTP/1\.[01]\r\n(?:%s)*\r\n" % (_TOKEN, _VISIBLE, _FIELD))
_HEAD_END = re.compile(rb"\n\r?\n")
_LENGTH = re.compile(rb"[0-9]{1,4000}")
_INTERIM = re.compile(rb"HTTP/1\.\d 1(?!01\b)\d\d\b")
_EMPTY_LINES = re.compile(rb"(?:\r\n)*")
_NAME = re.compile(_TOKEN)
_PATH = re.compile(rb"/%s*" % _VISIBLE)
_TRAILER = re.compile(_FIELD)
_FIELD_VALUE = re.compile(_VALUE)
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[\w.~%!$&'()*+,;=-]*)(?::\d*)?")
# Longer sizes do not fit into 64 bits, and some servers would cut them.
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[\t ]*(?:;%s)?\r\n" % _VALUE)
_BREAK = re.compile(rb"[\r\n\0]")
_PORTS = {b"http": b"80", b"https": b"443"}
_VERSIONS = (b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b"HTTP/3")


def empty_lines(data: bytes) -> int:
    """How many bytes of empty lines a server ignores before a request (RFC 9112, section 2.2)."""
    found = _EMPTY_LINES.match(data)
    return found.end() if found else 0


def head_end(data: bytes) -> int | None:
    """Where mitmproxy takes a head to end; None while it has not."""
    found = _HEAD_END.search(data)
    return found.end() if found else None


def is_request_head(head: bytes) -> bool:
    """Tell whether the bytes of an HTTP/1 head are what the grammar has (RFC 9112, section 3)."""
    return _REQUEST_HEAD.fullmatch(head) is not None


def content_length(value: bytes) -> int | None:
    """The number in a Content-Length; None for what is no number, or longer than Python reads."""
    return int(value) if _LENGTH.fullmatch(value) else None


def interim_end(data: bytes) -> int | None:
    """Where the interim responses at the beginning of data end (RFC 9110, section 15.2).

    A 101 is none: what follows it is another protocol.

    Args:
        data: what an upstream has sent.

    Returns:
        The end of the last one that is complete; None if there is none.
    """
    end = 0
    while _INTERIM.match(data, end):
        if (head := _HEAD_END.search(data, end)) is None:
            break
        end = head.end()
    return end or None


def request_flaw(
    version: bytes,
    method: bytes,
    path: bytes,
    scheme: bytes,
    authority: bytes,
    fields: Iterable[tuple[bytes, bytes]],
) -> str | None:
    """Say why a request of any HTTP version could be read in more than one way; None if not so.

    Args:
        version: such as HTTP/1.1.
        method: as received.
        path: the target without scheme and authority.
        scheme: of a target in absolute form or a `:scheme`; may be empty.
        authority: of a target in absolute form or an `:authority`; may be empty.
        fields: the headers.

    HTTP/2 carries any bytes; in HTTP/1 some of them would end a line.
    """
    lines: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        if not _NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            return "a malformed header"
        lines.setdefault(name.lower(), []).append(value)
    if not _NAME.fullmatch(method):
        return "a malformed method"
    if not _PATH.fullmatch(path) and (method, path) != (b"OPTIONS", b"*"):
        return "a malformed target"
    hosts = lines.get(b"host", [])
    if len(hosts) > 1 or (version == b"HTTP/1.1" and not hosts):
        return "no Host or more than one"
    if not all(map(_HOST.fullmatch, [authority, *hosts])):
        return "a malformed Host"
    if authority and hosts and _without_port(authority, scheme) != _without_port(hosts[0], scheme):
        return "a target of another host"
    if problem := _unknown_coding(lines.get(b"transfer-encoding", [])):
        return problem
    if any(map(hop_by_hop.is_end_to_end, hop_by_hop.options(lines.get(b"connection", [])))):
        return "a Connection header that takes away what is for the server"
    return None


def _without_port(authority: bytes, scheme: bytes) -> bytes:
    """An authority in lower case, without the port that its scheme has anyway (RFC 9110, 4.2.3)."""
    host, _, port = authority.lower().rpartition(b":")
    return host if host and port in (b"", _PORTS.get(scheme.lower())) else authority.lower()


def response_flaw(
    version: bytes, status: int, reason: bytes, fields: Iterable[tuple[bytes, bytes]]
) -> str | None:
    """Say why a client could take a response for something else; None if it could not.

    Of an upstream everything else is taken that has one meaning (RFC 9110, section 5.5).
    """
    lines = list(fields)
    if not 100 <= status <= 999 or version not in _VERSIONS:
        return "an unknown version or status"
    if any(_BREAK.search(part) for part in (reason, *(value for _, value in lines))):
        return "a line break or NUL in a header"
    codings = (value for name, value in lines if name.lower() == b"transfer-encoding")
    return _unknown_coding(codings)


def _unknown_coding(values: Iterable[bytes]) -> str | None:
    """Besides chunked, servers and clients differ in what they know, and where a body then ends."""
    unknown = any(value.lower() != b"chunked" for value in values)
    return "an unknown transfer coding" if unknown else None


class ChunkedReader:
    """Reads a chunked body; as one of h11's readers, but for what follows.

    A chunk ends with CRLF and nothing else (h11 before 0.16 takes any two bytes), its first line
    and the trailers are bounded, and trailers, which mitmproxy cannot pass on, are dropped
    (RFC 9110, section 6.5.1).
    """

    def __init__(self) -> None:
        self.broken = False
        """Whether what came is no chunked body."""
        self._left = 0
        """Bytes that are still to come of the chunk."""
        self._end = b""
        """What is still to come behind its data."""
        self._in_trailers = False
        self._trailers = 0
        """Bytes of trailers so far."""

    def __call__(self, buf: ReceiveBuffer) -> h11.Data | h11.EndOfMessage | None:
        """Take the next part from a buffer; None if there is too little.

        Raises:
            h11.RemoteProtocolError: this is no chunked body.
        """
        if self._end and not self._skip_end(buf):
            return None
        if not self._in_trailers and not self._left:
            self._begin_chunk(buf)
        if self._in_trailers:
            return self._skip_trailers(buf)
        data = buf.maybe_extract_at_most(self._left) if self._left else None
        if not data:
            return None
        self._left -= len(data)
        self._end = b"" if self._left else b"\r\n"
        return h11.Data(data=bytes(data))

    def read_eof(self) -> h11.EndOfMessage:
        """The other side has closed the connection.

        Raises:
            h11.RemoteProtocolError: too early.
        """
        raise h11.RemoteProtocolError("peer closed the connection in a chunked body")

    def _skip_end(self, buf: ReceiveBuffer) -> bool:
        came = bytes(buf.maybe_extract_at_most(len(self._end)) or b"")
        if not self._end.startswith(came):
            self._break()
        self._end = self._end[len(came) :]
        return not self._end

    def _begin_chunk(self, buf: ReceiveBuffer) -> None:
        if (line := self._line(buf)) is None:
            return
        if (found := _CHUNK.fullmatch(line)) is None:
            self._break()
        self._left = int(found[1], 16)
        self._in_trailers = not self._left

    def _skip_trailers(self, buf: ReceiveBuffer) -> h11.EndOfMessage | None:
        while (line := self._line(buf)) is not None:
            if line == b"\r\n":
                return h11.EndOfMessage()
            self._trailers += len(line)
            if not _TRAILER.fullmatch(line) or self._trailers > LINE_LIMIT:
                self._break()
        return None

    def _line(self, buf: ReceiveBuffer) -> bytes | None:
        line = buf.maybe_extract_next_line()
        if len(buf if line is None else line) > LINE_LIMIT:
            self._break()
        return None if line is None else bytes(line)

    def _break(self) -> NoReturn:
        self.broken = True
        raise h11.RemoteProtocolError("malformed chunk")
