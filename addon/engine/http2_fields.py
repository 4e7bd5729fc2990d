"""HTTP/2 header fields to mitmproxy's requests, and from its answers."""

from __future__ import annotations

import time
from typing import Any

from mitmproxy import http
from mitmproxy.net.http import url

from . import messages

_NO_HEADER = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"te", b"host", b"transfer-encoding")
)
"""Fields that belong to HTTP/1 (RFC 9113, section 8.2.2)."""


def read_request(pairs: Any) -> http.Request:
    """Return mitmproxy's object for a request.

    Raises:
        KeyError: a pseudo header is missing.
        ValueError: a pseudo header is unknown, repeated or out of place, or a value is malformed.
    """
    pseudo: dict[bytes, bytes] = {}
    fields: list[tuple[bytes, bytes]] = []
    for name, value in pairs:
        if name.startswith(b":"):
            if name in pseudo or fields:
                raise ValueError(name)
            pseudo[name] = value
        else:
            fields.append((name, value))
    method, scheme, path = (pseudo.pop(name) for name in (b":method", b":scheme", b":path"))
    authority = pseudo.pop(b":authority", b"")
    if pseudo:
        raise ValueError("an unknown pseudo header")
    host, port = "", 0
    if authority:
        host, named = url.parse_authority(authority, check=True)
        port = named or url.default_port(scheme) or 0
    return messages.request(
        tuple(fields),
        method=method,
        path=path,
        version=b"HTTP/2.0",
        timestamp=time.time(),
        host=host,
        port=port,
        scheme=scheme,
        authority=authority,
    )


def of_answer(response: http.Response) -> list[tuple[bytes, bytes]]:
    """Return the HTTP/2 header fields of an answer."""
    return [
        (b":status", b"%d" % response.status_code),
        *(
            (lower, value)
            for name, value in response.headers.fields
            if (lower := name.lower()) not in _NO_HEADER
        ),
    ]
