"""How the answers on a client's HTTP/1 connection are framed, and when it is closed after them."""

from __future__ import annotations

from collections.abc import Callable

from mitmproxy import http

from ..protocol.headers import read, without
from . import heads


class AnswerFraming:
    """The framing of one answer after the other (RFC 9112, sections 6 and 9).

    Args:
        is_draining: returns whether answers ask clients to close their connections.
    """

    def __init__(self, is_draining: Callable[[], bool]) -> None:
        self._is_draining = is_draining
        self.modern = True
        """Whether the client speaks HTTP/1.1."""
        self.bodiless = False
        """Whether the answer has no body, as to HEAD."""
        self.chunked = False
        """Whether the body of the answer is sent in chunks."""
        self.unframed = False
        """Whether the end of the connection ends the answer's body."""
        self.close_after = False
        """Whether the connection is closed after the answer."""
        self.head_sent = False

    def begin(self, head: heads.RequestHead) -> None:
        """Begin the answer to a request."""
        self.bodiless = head.method == b"HEAD"
        self.modern = modern = head.version != b"HTTP/1.0"
        self.head_sent = False
        self.close_after = not modern or heads.closes(head.version, head.fields)

    def head(self, response: http.Response, *, streamed: bool) -> bytes:
        """Decide on the framing of an answer, and return its head.

        Args:
            response: the answer.
            streamed: whether its body follows in parts.
        """
        self.head_sent = True
        data = response.data
        pairs, status, version = data.headers.fields, data.status_code, data.http_version
        fields = read(pairs)
        if (self.close_after or self._is_draining()) and status != 101:
            pairs = (*without(pairs, (b"connection",)), (b"Connection", b"close"))
            self.close_after = True
        self.bodiless = bodiless = self.bodiless or status in (101, 204, 304)
        chunked = b"chunked" in fields.get(b"transfer-encoding", b"").lower()
        framed = chunked or b"content-length" in fields or bodiless
        if chunked and not self.modern:
            pairs = without(pairs, (b"transfer-encoding",))
            chunked, framed = False, bodiless
            self.close_after = self.close_after or not bodiless
        elif not framed and self.modern and streamed:
            # Only chunks let the client detect a truncated body (RFC 9112, section 8).
            pairs = (*pairs, (b"Transfer-Encoding", b"chunked"))
            chunked = True
        elif not framed:
            self.close_after = True
        self.unframed = not (framed or chunked)
        self.chunked = chunked and not bodiless
        if self.chunked or version != b"HTTP/1.0":
            version = b"HTTP/1.1"
        if heads.closes(version, fields):
            self.close_after = True
        return heads.write(b"%s %d %s" % (version, status, data.reason), pairs)
