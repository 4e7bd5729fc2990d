"""HTTP/2 header fields, converted in both directions."""

from __future__ import annotations

import pytest

from addon.engine import http2_fields, messages

METHOD, SCHEME, PATH = (b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/a?b")
PSEUDO = (METHOD, SCHEME, PATH)


@pytest.mark.parametrize(
    ("authority", "host", "port"),
    [
        ((), "", 0),
        (((b":authority", b"a.example"),), "a.example", 443),
        (((b":authority", b"a.example:8443"),), "a.example", 8443),
        (((b":authority", b"[::1]:8443"),), "::1", 8443),
    ],
)
def test_read_request(authority: tuple[tuple[bytes, bytes], ...], host: str, port: int) -> None:
    """Pseudo headers become the request line; the default port is that of the scheme."""
    fields = ((b"x", b"1"), (b"x", b"2"))
    request = http2_fields.read_request((*PSEUDO, *authority, *fields))
    assert (request.host, request.port, request.headers.fields) == (host, port, fields)
    assert (request.method, request.scheme, request.path) == ("GET", "https", "/a?b")
    assert (request.http_version, request.data.authority) == (
        "HTTP/2.0",
        authority[0][1] if authority else b"",
    )


@pytest.mark.parametrize(
    ("pairs", "error"),
    [
        ((METHOD, SCHEME), KeyError),
        ((*PSEUDO, METHOD), ValueError),
        ((*PSEUDO, (b"x", b"1"), (b":authority", b"a")), ValueError),
        ((*PSEUDO, (b":status", b"200")), ValueError),
        ((*PSEUDO, (b":authority", b"a b")), ValueError),
        ((*PSEUDO, (b":authority", b"a:99999")), ValueError),
    ],
)
def test_malformed_requests(pairs: tuple[tuple[bytes, bytes], ...], error: type[Exception]) -> None:
    """A pseudo header must not be missing, repeated, late, unknown or malformed."""
    with pytest.raises(error):
        http2_fields.read_request(pairs)


def test_of_answer() -> None:
    """Names are in lower case, and fields of HTTP/1 connections are left out."""
    pairs = (
        (b"Connection", b"X-Hop"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Set-Cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    )
    answer = messages.response(
        pairs, version=b"HTTP/1.1", status=404, reason=b"Not Found", timestamp=0.0
    )
    assert http2_fields.of_answer(answer) == [
        (b":status", b"404"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    ]
