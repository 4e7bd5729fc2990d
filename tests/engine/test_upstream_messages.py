"""Requests to a registry, and the framing of its answers."""

from __future__ import annotations

import pytest
from mitmproxy import http

from addon.engine import heads, messages, upstream_messages
from addon.engine.readers import BrokenError, Chunked, Length, UntilEnd
from addon.protocol.headers import Pairs


def request(
    pairs: Pairs = (), *, authority: bytes = b"", version: bytes = b"HTTP/1.1"
) -> http.Request:
    """Return a request for /x."""
    return messages.request(
        pairs,
        method=b"GET",
        path=b"/x",
        version=version,
        timestamp=0.0,
        host="a.example",
        port=80,
        scheme=b"http",
        authority=authority,
    )


@pytest.mark.parametrize(
    ("authority", "version", "target"),
    [
        (b"", b"HTTP/1.1", b"/x"),
        (b"a.example", b"HTTP/1.1", b"http://a.example/x"),
        (b"a.example", b"HTTP/2.0", b"/x"),
    ],
)
def test_target(authority: bytes, version: bytes, target: bytes) -> None:
    """Only an HTTP/1 request with an authority has a target in absolute form."""
    assert upstream_messages.target(request(authority=authority, version=version)) == target


HOST, COOKIE = (b"Host", b"a.example"), (b"cookie", b"a=1")


@pytest.mark.parametrize(
    ("version", "pairs", "sent"),
    [
        (b"HTTP/1.1", (HOST, COOKIE, (b"Cookie", b"b=2")), (HOST, COOKIE, (b"Cookie", b"b=2"))),
        (b"HTTP/1.1", (), ()),
        (b"HTTP/2.0", (), (HOST,)),
        (b"HTTP/2.0", ((b"host", b"b"),), ((b"host", b"b"),)),
        (b"HTTP/2.0", (COOKIE, (b"x", b"1")), (HOST, COOKIE, (b"x", b"1"))),
        # HTTP/2 clients may split cookies into several fields.
        (
            b"HTTP/2.0",
            (COOKIE, (b"x", b"1"), (b"cookie", b"b=2")),
            (HOST, (b"x", b"1"), (b"cookie", b"a=1; b=2")),
        ),
    ],
)
def test_pairs_of(version: bytes, pairs: Pairs, sent: Pairs) -> None:
    """An HTTP/2 request gets a Host and one Cookie field; an HTTP/1 request stays unchanged."""
    made = request(pairs, authority=b"a.example", version=version)
    assert upstream_messages.pairs_of(made, b"") == sent
    added = (b"Authorization", b"Bearer t")
    assert upstream_messages.pairs_of(made, b"Bearer t") == (*sent, added)
    assert made.headers.fields == pairs


@pytest.mark.parametrize(
    ("method", "head", "reader"),
    [
        (b"GET", b"200 OK\r\nContent-Length: 5", Length),
        (b"GET", b"200 OK\r\nTransfer-Encoding: chunked", Chunked),
        (b"GET", b"200 OK", UntilEnd),
        (b"HEAD", b"200 OK\r\nContent-Length: 5", None),
        (b"HEAD", b"200 OK\r\nTransfer-Encoding: chunked", None),
        (b"GET", b"204 No Content", None),
        (b"GET", b"304 Not Modified\r\nContent-Length: 5", None),
        (b"GET", b"304 Not Modified\r\nTransfer-Encoding: chunked", None),
        (b"GET", b"101 Switching Protocols", None),
    ],
)
def test_reader_of(method: bytes, head: bytes, reader: type | None) -> None:
    """An answer's body is framed by RFC 9112, section 6.3; None stands for no body."""
    parsed = heads.read_response(b"HTTP/1.1 " + head + b"\r\n\r\n")
    found = upstream_messages.reader_of(method, parsed)
    assert type(found) is (reader or Length)
    assert found.done is (reader is None)


@pytest.mark.parametrize(
    "head",
    [
        b"200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        b"200 OK\r\nContent-Length: 5, 6",
        b"200 OK\r\nTransfer-Encoding: gzip, chunked",
        b"204 No Content\r\nTransfer-Encoding: chunked",
        b"101 Switching Protocols\r\nTransfer-Encoding: chunked",
    ],
)
def test_ambiguous_framing(head: bytes) -> None:
    """An answer that a client could frame in another way is refused."""
    parsed = heads.read_response(b"HTTP/1.1 " + head + b"\r\n\r\n")
    with pytest.raises(BrokenError):
        upstream_messages.reader_of(b"GET", parsed)
