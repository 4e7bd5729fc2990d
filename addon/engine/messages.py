"""Build mitmproxy's flows and messages directly from the parsed fields.

mitmproxy's constructors convert arguments, copy the headers, check the type of each value and ask
the kernel for random bytes: half of the work of a small request. Values here have the right types
by construction. `reached_into` lists the fields.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from mitmproxy import connection, http

from ..protocol.headers import Pairs


def _random_ids() -> Iterator[str]:
    """Yield UUIDs of version 4 (RFC 9562, section 5.4), 256 for each system call."""
    variants = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
    while True:
        digits = os.urandom(256 * 16).hex()
        for at in range(0, len(digits), 32):
            one = digits[at : at + 32]
            variant = variants[one[16]]
            yield f"{one[:8]}-{one[8:12]}-4{one[13:16]}-{variant}{one[17:20]}-{one[20:]}"


_IDS = _random_ids()


def flow(
    client: connection.Client, server: connection.Server, request: http.Request
) -> http.HTTPFlow:
    """Return a new live flow.

    Args:
        client: mitmproxy's record of the client's connection.
        server: mitmproxy's record of the upstream's connection.
        request: the request, with the time at which it began.
    """
    made = http.HTTPFlow.__new__(http.HTTPFlow)
    made.id = next(_IDS)
    made.client_conn, made.server_conn, made.request = client, server, request
    made.live, made.timestamp_created = True, request.data.timestamp_start
    made.intercepted, made.is_replay = False, None
    made._resume_event = made._backup = None
    made.marked = made.comment = ""
    made.metadata = {}
    return made


def headers(pairs: Pairs) -> http.Headers:
    """Return headers with these fields, without a copy."""
    made = http.Headers.__new__(http.Headers)
    made.fields = pairs
    return made


def request(
    pairs: Pairs,
    *,
    method: bytes,
    path: bytes,
    version: bytes,
    timestamp: float,
    host: str = "",
    port: int = 0,
    scheme: bytes = b"",
    authority: bytes = b"",
) -> http.Request:
    """Return a request that has no body yet.

    Args:
        pairs: its header fields.
        method: as received.
        path: the target without scheme and authority.
        version: such as HTTP/1.1.
        timestamp: when it arrived, in seconds since 1970.
        host: the host in the target, "" if it names none.
        port: the port in the target, otherwise 0.
        scheme: the scheme of the target, b"" if it names none.
        authority: the authority of the target, b"" if it names none.
    """
    made = http.Request.__new__(http.Request)
    made.data = data = http.RequestData.__new__(http.RequestData)
    data.host, data.port = host, port
    data.method, data.path, data.http_version = method, path, version
    data.scheme, data.authority = scheme, authority
    data.headers = headers(pairs)
    data.content = data.trailers = data.timestamp_end = None
    data.timestamp_start = timestamp
    return made


def response(
    pairs: Pairs, *, version: bytes, status: int, reason: bytes, timestamp: float
) -> http.Response:
    """Return a response that has no body yet; see `request`."""
    made = http.Response.__new__(http.Response)
    made.data = data = http.ResponseData.__new__(http.ResponseData)
    data.http_version, data.status_code, data.reason = version, status, reason
    data.headers = headers(pairs)
    data.content = data.trailers = data.timestamp_end = None
    data.timestamp_start = timestamp
    return made


def streamed(stream: Any, data: bytes) -> list[bytes]:
    """Return the parts to send for a part of a streamed body.

    Args:
        stream: the message's `stream`: a function of an addon that changes parts, or True.
        data: the part as it arrived; b"" for the end of the body.
    """
    if not callable(stream):
        return [data] if data else []
    parts = stream(data)
    parts = [parts] if isinstance(parts, bytes) else parts
    return [each for each in parts if each]
