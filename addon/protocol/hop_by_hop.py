"""Fields for one connection only (RFC 9110, section 7.6.1), and the one upgrade that may pass.

A connection that has changed its protocol is a pipe: the rules do not see the bytes in it. With h2c
these could be any number of requests. So a connection may only become a WebSocket, because its
messages are not requests.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable

from .headers import Fields, Pairs

_OPTIONS = frozenset({b"", b"close", b"keep-alive", b"te", b"upgrade"})
_ONE_HOP = frozenset(
    {b"connection", b"http2-settings", b"keep-alive", b"proxy-connection", b"te", b"upgrade"}
)
_HARMLESS = frozenset({b"", b"close", b"keep-alive", b"Keep-Alive"})
"""Common values of Connection that name no field."""
# Fields about the content, the target and the sender of a message. A proxy in front may have added
# some of them for the registry: clients must not be able to remove them.
_END_TO_END = re.compile(
    rb"content-.+|transfer-encoding|host|origin|referer|expect|range|if-.+|via|(?:set-)?cookie|location|"
    rb"trace(?:parent|state)|forwarded|x-(?:forwarded|original|real|http|method|request)-.+|"
    rb".*(?:auth|user|token|key|email|group|role|session|csrf|client-ip|cert).*"
)
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def options(connection: Iterable[bytes]) -> set[bytes]:
    """Return the options of a Connection header, in lower case.

    Args:
        connection: its values, one for each line.
    """
    return {option.strip(b" \t").lower() for value in connection for option in value.split(b",")}


def takes_away(connection: bytes) -> bool:
    """Return whether a Connection header names a field that must reach the server."""
    if connection in _HARMLESS:
        return False
    return any(map(is_end_to_end, options([connection])))


def is_end_to_end(name: bytes) -> bool:
    """Return whether a field (lower-case name) must pass even if Connection names it."""
    return name not in _OPTIONS and _END_TO_END.fullmatch(name) is not None


def pass_on(headers: Pairs, fields: Fields, *, switches: bool = False) -> Pairs:
    """Return the headers of a request or response without those for one connection only.

    Transfer-Encoding stays, because it frames the body; so do fields that are `is_end_to_end`.

    Args:
        headers: names and values, as received.
        fields: the same, from `headers.read`.
        switches: whether they belong to a WebSocket's handshake.
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
    """Return the key of a WebSocket's opening handshake (RFC 6455, 4.2.1); None if it is not one.

    Args:
        method: of the request.
        version: of HTTP, such as HTTP/1.1.
        fields: its headers; a header that was sent twice is not valid.
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
    """Return whether the headers of a 101 accept a WebSocket (RFC 6455, section 4.2.2).

    Args:
        key: of the request.
        fields: of the response.
    """
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return (
        fields.get(b"upgrade", b"").lower() == b"websocket"
        and fields.get(b"sec-websocket-accept") == accept
    )
