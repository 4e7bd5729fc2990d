"""The proxy's replies as mitmproxy's responses and as bytes."""

from __future__ import annotations

import pytest

from addon.engine import responses
from addon.errors.replies import Reply

REPLY = Reply(503, (("Content-Type", "text/plain"), ("Content-Length", "2")), b"no")


@pytest.mark.parametrize(("method", "body"), [("GET", b"no"), ("HEAD", b"")])
def test_to_response(method: str, body: bytes) -> None:
    """A response has exactly the reply's headers; the answer to HEAD has no body."""
    response = responses.to_response(REPLY, method)
    assert (response.status_code, response.reason) == (503, "Service Unavailable")
    assert response.headers.fields == (
        (b"Content-Type", b"text/plain"),
        (b"Content-Length", b"2"),
    )
    assert response.raw_content == body
    assert response.timestamp_end == response.timestamp_start


@pytest.mark.parametrize(("method", "body"), [("GET", b"no"), ("HEAD", b"")])
def test_to_last_bytes(method: str, body: bytes) -> None:
    """The last answer on a connection announces the close."""
    assert responses.to_last_bytes(REPLY, method) == (
        b"HTTP/1.1 503 Service Unavailable\r\n"
        b"Content-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\n" + body
    )
