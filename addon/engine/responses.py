"""Replies as mitmproxy's responses."""

from __future__ import annotations

from mitmproxy import http
from mitmproxy.net.http import http1

from ..replies import Reply


def to_response(reply: Reply, method: str) -> http.Response:
    """A mitmproxy response with exactly the headers of a reply.

    The answer to HEAD has the same headers and no body (RFC 9110, section 9.3.2); mitmproxy would
    send one, and the client would take it for the beginning of the next answer.
    """
    headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in reply.headers]
    response = http.Response.make(reply.status, reply.body, http.Headers(headers))
    if method == "HEAD":
        response.raw_content = b""
    return response


def to_last_bytes(reply: Reply, method: str = "GET") -> bytes:
    """A reply as HTTP/1 sends it to a client whose connection is closed after it.

    Args:
        reply: the answer.
        method: of the request, if it had a head.
    """
    response = to_response(reply, method)
    response.headers["Connection"] = "close"
    return bytes(http1.assemble_response(response))
