"""Hop-by-hop fields, and the opening handshake of a WebSocket."""

from __future__ import annotations

import pytest

from addon.protocol import headers, hop_by_hop

Pairs = list[tuple[bytes, bytes]]


@pytest.mark.parametrize(
    "name",
    [
        *(b"host", b"content-length", b"transfer-encoding", b"content-encoding", b"content-type"),
        *(b"authorization", b"proxy-authorization", b"cookie", b"x-api-key", b"x-access-token"),
        *(b"origin", b"referer", b"expect", b"if-match", b"x-http-method-override", b"range"),
        *(b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-real-ip", b"x-original-url"),
        *(b"x-request-id", b"traceparent", b"x-auth-request-email", b"remote-user", b"x-client-ip"),
        *(b"x-goog-authenticated-user-email", b"cf-access-jwt-user", b"x-ssl-client-cert"),
        *(b"x-csrf-token", b"set-cookie", b"sec-websocket-key", b"location"),
    ],
)
def test_fields_for_the_server(name: bytes) -> None:
    """Fields for framing, identity and access are never hop-by-hop."""
    assert hop_by_hop.is_end_to_end(name)


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"close",
        b"keep-alive",
        b"te",
        b"upgrade",
        b"http2-settings",
        b"x-hop",
        b"proxy-connection",
    ],
)
def test_fields_that_may_be_hop_by_hop(name: bytes) -> None:
    """Connection options, obsolete fields and unknown ones may be hop-by-hop."""
    assert not hop_by_hop.is_end_to_end(name)


A, B = (b"A", b"1"), (b"b", b"2")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([A, B], [A, B]),
        ([A, (b"Connection", b"keep-alive"), (b"Keep-Alive", b"timeout=5"), B], [A, B]),
        ([A, (b"connection", b"B, close"), B], [A]),
        ([A, (b"Connection", b"x"), B, (b"CONNECTION", b" a\t"), B], [B, B]),
        ([A, (b"Connection", b"Content-Length"), (b"Content-Length", b"2")],
         [A, (b"Content-Length", b"2")]),
        ([(b"Transfer-Encoding", b"chunked"), (b"Connection", b"transfer-encoding")],
         [(b"Transfer-Encoding", b"chunked")]),
        ([(b"Proxy-Connection", b"keep-alive"), A], [A]),
        ([(b"TE", b"gzip;q=0.5, Trailers"), A], [A, (b"TE", b"trailers")]),
        ([(b"TE", b"gzip"), A], [A]),
        ([(b"Upgrade", b"h2c"), (b"HTTP2-Settings", b"AAAA"), A], [A]),
        ([(b"Proxy-Authorization", b"Basic x")], [(b"Proxy-Authorization", b"Basic x")]),
    ],
)  # fmt: skip
def test_fields_that_are_forwarded(sent: Pairs, expected: Pairs) -> None:
    """All fields but the hop-by-hop ones are passed on, in order."""
    assert hop_by_hop.pass_on(tuple(sent), headers.read(sent)) == tuple(expected)


def test_fields_of_a_handshake() -> None:
    """Only the protocol is passed on, whatever else Connection names."""
    sent = ((b"Connection", b"keep-alive, Upgrade, b"), B, (b"Upgrade", b"WebSocket"), A)
    passed = hop_by_hop.pass_on(sent, headers.read(sent), switches=True)
    assert passed == (A, (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"))


KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = {
    b"connection": b"keep-alive, upgrade",
    b"upgrade": b"WebSocket",
    b"sec-websocket-version": b"13",
    b"sec-websocket-key": KEY,
}


@pytest.mark.parametrize(
    ("fields", "method", "version", "body"),
    [
        ({}, "POST", "HTTP/1.1", False),
        ({}, "get", "HTTP/1.1", False),
        ({}, "GET", "HTTP/1.0", False),
        ({}, "GET", "HTTP/2.0", False),
        ({}, "GET", "HTTP/1.1", True),
        *(
            ({name: value}, "GET", "HTTP/1.1", False)
            for name, value in [
                *((b"connection", b"keep-alive"), (b"connection", b"xupgrade")),
                *((b"upgrade", b"websocket, h2c"), (b"upgrade", b"h2c"), (b"upgrade", b"")),
                *((b"upgrade", b"websocket/13"), (b"upgrade", b"websocket, websocket")),
                *((b"sec-websocket-version", b"8"), (b"sec-websocket-version", b"13, 8")),
                *((b"sec-websocket-key", KEY[:-1]), (b"sec-websocket-key", KEY + b"A")),
                *((b"sec-websocket-key", b""), (b"sec-websocket-key", KEY + b", " + KEY)),
                *((b"sec-websocket-key", KEY + b"\n"), (b"sec-websocket-key", b"-" + KEY[1:])),
            ]
        ),
    ],
)
def test_other_handshakes(
    fields: dict[bytes, bytes], method: str, version: str, body: bool
) -> None:
    """Only the exact handshake asks for a WebSocket."""
    assert hop_by_hop.websocket_key("GET", "HTTP/1.1", HANDSHAKE, body=False) == KEY
    key = hop_by_hop.websocket_key(method, version, HANDSHAKE | fields, body=body)
    assert key is None


@pytest.mark.parametrize(
    ("upgrade", "accept", "expected"),
    [
        # The example of RFC 6455, section 1.3.
        (b"websocket", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", True),
        (b"WebSocket", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", True),
        (b"websocket", KEY, False),
        (b"websocket", b"", False),
        (b"h2c", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", False),
        (b"websocket, h2c", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", False),
    ],
)
def test_accepted_protocols(upgrade: bytes, accept: bytes, expected: bool) -> None:
    """An answer is accepted if its server has read the key, and it names no other protocol."""
    fields = {b"upgrade": upgrade, b"sec-websocket-accept": accept}
    assert hop_by_hop.is_accepted(KEY, fields) is expected


def test_a_101_without_headers() -> None:
    """A 101 without headers accepts nothing."""
    assert not hop_by_hop.is_accepted(KEY, {})
