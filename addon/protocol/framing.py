"""Checks that a request can be read in one way only.

mitmproxy is lenient: a line feed alone ends a line, any white space can replace any other, and a
folded header is passed on as received. If a server before or behind the proxy reads it differently,
the two disagree on where a request ends, and a second request can hide in the difference (RFC
9112, section 11.2). So a request that does not follow the grammar is refused.
"""

from __future__ import annotations

import re

from . import hop_by_hop
from .headers import TOKEN, VISIBLE, Fields, Pairs, read

_VALUE = rb"[\t -~\x80-\xff]*"
_HEAD_END = re.compile(rb"\n\r?\n")
# No real message has a length of more than 19 digits, or leading zeros.
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,18}")
INTERIM_AT_ONCE = 64
"""Interim answers that are skipped in one call: an upstream may send thousands."""
_INTERIM = re.compile(rb"HTTP/1\.\d 1(?!01\b)\d\d\b")
_NAME = re.compile(TOKEN)
_PATH = re.compile(rb"/%s*" % VISIBLE)
_FIELD_VALUE = re.compile(_VALUE)
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[\w.~%!$&'()*+,;=-]*)(?::\d*)?")
_PORTS = {b"http": b"80", b"https": b"443"}


def content_length(value: bytes) -> int | None:
    """Return the number in a Content-Length; None if it is malformed."""
    return int(value) if _LENGTH.fullmatch(value) else None


def announced(fields: Fields) -> int | None:
    """Return the length of a body in bytes, if the headers announce it."""
    if b"transfer-encoding" in fields or b"content-length" not in fields:
        return None
    return content_length(fields[b"content-length"])


def interim_end(data: bytes) -> int | None:
    """Return where the interim responses at the start of data end (RFC 9110, section 15.2).

    A 101 does not count: another protocol follows it.

    Args:
        data: the bytes that an upstream has sent.

    Returns:
        The end of the last complete one; None if there is none. Others may follow.
    """
    end = 0
    for _ in range(INTERIM_AT_ONCE):
        if not _INTERIM.match(data, end):
            break
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
    fields: Pairs,
) -> str | None:
    """Return why a request of any HTTP version can be read in more than one way; None if it cannot.

    Args:
        version: such as HTTP/1.1.
        method: as received.
        path: the target without scheme and authority.
        scheme: of a target in absolute form or a `:scheme`; may be empty.
        authority: of a target in absolute form or an `:authority`; may be empty.
        fields: the headers.

    HTTP/2 can carry any bytes; in HTTP/1 some of them would end a line.
    """
    for name, value in fields:
        if not _NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            return "a malformed header"
    if not _NAME.fullmatch(method):
        return "a malformed method"
    if not _PATH.fullmatch(path) and path != b"*":
        return "a malformed target"
    return head_flaw(version, method, path, scheme, authority, read(fields))


def head_flaw(
    version: bytes, method: bytes, path: bytes, scheme: bytes, authority: bytes, fields: Fields
) -> str | None:
    """The same for a head whose lines are known to follow the grammar.

    Args:
        version: see `request_flaw`, also for the next two.
        method: as received.
        path: the target without scheme and authority.
        scheme: may be empty.
        authority: may be empty.
        fields: the headers, by lower-case names.
    """
    if path[:1] != b"/" and (method, path) != (b"OPTIONS", b"*"):
        return "a malformed target"
    # The values of repeated fields are joined by a comma and a space; no valid Host has a space.
    host = fields.get(b"host")
    if host is None:
        if version == b"HTTP/1.1":
            return "no Host"
    elif not _HOST.fullmatch(host):
        return "a malformed Host, or more than one"
    if authority:
        if not _HOST.fullmatch(authority):
            return "a malformed Host"
        if host is not None and _without_port(authority, scheme) != _without_port(host, scheme):
            return "a target of another host"
    # Servers and clients know different codings besides chunked, so they disagree on where a body
    # ends.
    if fields.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
        return "an unknown transfer coding"
    connection = fields.get(b"connection")
    if connection is not None and hop_by_hop.takes_away(connection):
        return "a Connection header that takes away what is for the server"
    return None


def _without_port(authority: bytes, scheme: bytes) -> bytes:
    """Return an authority in lower case, without its scheme's default port (RFC 9110, 4.2.3)."""
    host, _, port = authority.lower().rpartition(b":")
    return host if host and port in (b"", _PORTS.get(scheme.lower())) else authority.lower()
