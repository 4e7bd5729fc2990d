"""Turn replies into mitmproxy's responses."""

from __future__ import annotations

import time

from mitmproxy import http
from mitmproxy.net.http import http1, status_codes

from ..errors.replies import Reply
from . import messages


def to_response(reply: Reply, method: str) -> http.Response:
    """Return a mitmproxy response with exactly the headers of a reply.

    The answer to HEAD has the same headers and no body (RFC 9110, section 9.3.2); mitmproxy would
    send one, and the client would take it for the beginning of the next answer.
    """
    response = messages.response(
        tuple((name.encode("ascii"), value.encode("ascii")) for name, value in reply.headers),
        version=b"HTTP/1.1",
        status=reply.status,
        reason=status_codes.RESPONSES.get(reply.status, "").encode("ascii"),
        timestamp=time.time(),
    )
    response.raw_content = b"" if method == "HEAD" else reply.body
    response.timestamp_end = response.timestamp_start
    return response


def to_last_bytes(reply: Reply, method: str = "GET") -> bytes:
    """Return the HTTP/1 bytes of a reply after which the client's connection is closed.

    Args:
        reply: the answer.
        method: the request's method, if its head was read.
    """
    response = to_response(reply, method)
    response.headers["Connection"] = "close"
    return bytes(http1.assemble_response(response))
