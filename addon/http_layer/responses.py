"""Replies as mitmproxy's responses."""

from __future__ import annotations

from mitmproxy import http

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
