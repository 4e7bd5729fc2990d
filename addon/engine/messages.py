"""mitmproxy's messages, built around the fields that were read.

Their constructors convert what others may hand over, copy the headers and check the type of each
value: half of the work of a small request. What is built here has the right types by construction.
`reached_into` lists the fields that there are.
"""

from __future__ import annotations

from mitmproxy import http

from .heads import Pairs


def headers(pairs: Pairs) -> http.Headers:
    """Headers of fields that are a tuple already."""
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
    """A request without a body so far.

    Args:
        pairs: its header fields.
        method: as received.
        path: the target without scheme and authority.
        version: such as HTTP/1.1.
        timestamp: when it came, in seconds since 1970.
        host: of a target in absolute form.
        port: of the same.
        scheme: of the same.
        authority: of the same.
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
    """A response without a body so far; see `request`."""
    made = http.Response.__new__(http.Response)
    made.data = data = http.ResponseData.__new__(http.ResponseData)
    data.http_version, data.status_code, data.reason = version, status, reason
    data.headers = headers(pairs)
    data.content = data.trailers = data.timestamp_end = None
    data.timestamp_start = timestamp
    return made
