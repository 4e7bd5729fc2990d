"""Fields for one connection alone (RFC 9110, section 7.6.1), and the one upgrade that may pass.

A connection that has changed its protocol is a pipe: the rules see nothing of what goes through it.
With h2c that would be any number of requests. So it may only become a WebSocket, whose messages are
no requests.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable

from .headers import Fields

Headers = tuple[tuple[bytes, bytes], ...]

_OPTIONS = frozenset({b"", b"close", b"keep-alive", b"te", b"upgrade"})
_ONE_HOP = frozenset(
    {b"connection", b"http2-settings", b"keep-alive", b"proxy-connection", b"te", b"upgrade"}
)
_HARMLESS = frozenset({b"", b"close", b"keep-alive", b"Keep-Alive"})
"""Usual values of Connection, which name no field."""
# What a message is, where it goes, and who asks for it. A proxy in front may have added some of
# these for the registry: no client may have them taken away.
_END_TO_END = re.compile(
    rb"content-.+|transfer-encoding|host|origin|referer|expect|range|if-.+|via|(?:set-)?cookie|location|"
    rb"trace(?:parent|state)|forwarded|x-(?:forwarded|original|real|http|method|request)-.+|"
    rb".*(?:auth|user|token|key|email|group|role|session|csrf|client-ip|cert).*"
)
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def options(connection: Iterable[bytes]) -> set[bytes]:
    """The options of a Connection header, in lower case.

    Args:
        connection: its values, one for each line.
    """
    return {option.strip(b" \t").lower() for value in connection for option in value.split(b",")}


def closes(version: bytes, connection: Iterable[bytes]) -> bool:
    """Tell whether a connection ends with a message (RFC 9112, section 9.3).

    Args:
        version: of HTTP, such as HTTP/1.1.
        connection: the values of its Connection header.
    """
    said = options(connection)
    return b"close" in said or (version == b"HTTP/1.0" and b"keep-alive" not in said)


def takes_away(connection: bytes) -> bool:
    """Tell whether a Connection header names what must not be for one connection alone."""
    if connection in _HARMLESS:
        return False
    return any(map(is_end_to_end, options([connection])))


def is_end_to_end(name: bytes) -> bool:
    """Tell whether a field must not be for one connection alone, by its name in lower case."""
    return name not in _OPTIONS and _END_TO_END.fullmatch(name) is not None


def pass_on(headers: Headers, fields: Fields, *, switches: bool = False) -> Headers:
    """Headers of a request or response without those that are for one connection alone.

    Transfer-Encoding stays, as it frames the body; so does what `is_end_to_end`.

    Args:
        headers: names and values, as they came.
        fields: the same, as `headers.read` gives them.
        switches: whether they are of a WebSocket's handshake.
    """
    if _ONE_HOP.isdisjoint(fields):
        return headers
    gone = _ONE_HOP
    if (connection := fields.get(b"connection", b"")) not in _HARMLESS:
        gone |= {o for o in options([connection]) if not is_end_to_end(o)}
    kept = [pair for pair in headers if pair[0].lower() not in gone]
    if b"te" in fields and b"trailers" in options([fields[b"te"]]):
        kept.append((b"TE", b"trailers"))
    if switches:
        kept += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    return tuple(kept)


def websocket_key(method: str, version: str, fields: Fields, *, body: bool) -> bytes | None:
    """The key of a WebSocket's opening handshake (RFC 6455, section 4.2.1); None if it is none.

    Args:
        method: of the request.
        version: of HTTP, such as HTTP/1.1.
        fields: its headers; what was sent twice counts as neither.
        body: whether a body follows.
    """
    if b"upgrade" not in fields:
        return None
    key = fields.get(b"sec-websocket-key", b"")
    is_handshake = (
        fields.get(b"upgrade", b"").lower() == b"websocket"
        and method == "GET"
        and version == "HTTP/1.1"
        and b"upgrade" in options([fields.get(b"connection", b"")])
        and fields.get(b"sec-websocket-version") == b"13"
        and _KEY.fullmatch(key)
        and not body
    )
    return key if is_handshake else None


def is_accepted(key: bytes, fields: Fields) -> bool:
    """Tell whether the headers of a 101 accept a WebSocket (RFC 6455, section 4.2.2).

    Args:
        key: of the request.
        fields: of the response.
    """
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return (
        fields.get(b"upgrade", b"").lower() == b"websocket"
        and fields.get(b"sec-websocket-accept") == accept
    )
