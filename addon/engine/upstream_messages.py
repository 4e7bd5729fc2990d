"""Requests as they go to a registry by HTTP/1.1, and the framing of its answers."""

from __future__ import annotations

from mitmproxy import http

from ..protocol.headers import Pairs, without
from . import heads
from .readers import BrokenError, Chunked, Length, Reader, UntilEnd


def target(request: http.Request) -> bytes:
    """Return the target of a request, in absolute form if it names an authority."""
    data = request.data
    if data.authority and not request.is_http2:
        return b"%s://%s%s" % (data.scheme, data.authority, data.path)
    return data.path


def pairs_of(request: http.Request, authorization: bytes) -> Pairs:
    """Return the header fields of a request in HTTP/1 form.

    Args:
        request: the request.
        authorization: credentials to add, if any; they are not in the flow, so nobody sees them.
    """
    pairs = request.data.headers.fields
    if request.is_http2:
        cookies = [value for name, value in pairs if name.lower() == b"cookie"]
        if len(cookies) > 1:  # RFC 9113, section 8.2.3
            joined = (b"cookie", b"; ".join(cookies))
            pairs = (*without(pairs, (b"cookie",)), joined)
        if request.data.authority and "host" not in request.headers:
            pairs = ((b"Host", request.data.authority), *pairs)
    return (*pairs, (b"Authorization", authorization)) if authorization else pairs


def reader_of(method: bytes, head: heads.ResponseHead) -> Reader:
    """Return the reader for the body of an answer (RFC 9112, section 6.3).

    Raises:
        BrokenError: the framing is ambiguous.
    """
    length = heads.framing(head.fields, head.version)
    if length is None and (head.status < 200 or head.status == 204):
        raise BrokenError("a transfer coding where there is no body")
    if method == b"HEAD" or head.status in (101, 204, 304):
        return Length(0)
    if length is None:
        return Chunked()
    return Length(length) if b"content-length" in head.fields else UntilEnd()
