"""Heads of HTTP/1 messages: which are read, and which are refused."""

from __future__ import annotations

import pytest

from addon.engine import heads
from addon.engine.readers import BrokenError
from addon.protocol.headers import Pairs

GET = b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize(
    ("lines", "pairs"),
    [
        (b"", ()),
        (b"Host: a\r\n", ((b"Host", b"a"),)),
        (b"Host:a\r\nX:\r\n", ((b"Host", b"a"), (b"X", b""))),
        (b"X: \t a b\t c \t\r\n", ((b"X", b"a b\t c"),)),
        (b"X: \xff\xc3\xa4\r\n", ((b"X", b"\xff\xc3\xa4"),)),
        (b"X: a:b\r\nx: c\r\n", ((b"X", b"a:b"), (b"x", b"c"))),
        (b"X:   \r\n", ((b"X", b""),)),
    ],
)
def test_fields(lines: bytes, pairs: Pairs) -> None:
    """Names stay as they came; values lose the white space around them."""
    head = heads.read_request(GET + lines + b"\r\n")
    assert head.pairs == pairs


@pytest.mark.parametrize(
    ("line", "method", "target", "version"),
    [
        (b"GET / HTTP/1.1", b"GET", b"/", b"HTTP/1.1"),
        (b"GET / HTTP/1.0", b"GET", b"/", b"HTTP/1.0"),
        (b"M-SEARCH * HTTP/1.1", b"M-SEARCH", b"*", b"HTTP/1.1"),
        (b"GET http://a/b?c HTTP/1.1", b"GET", b"http://a/b?c", b"HTTP/1.1"),
        (b"GET /\xff HTTP/1.1", b"GET", b"/\xff", b"HTTP/1.1"),
    ],
)
def test_request_lines(line: bytes, method: bytes, target: bytes, version: bytes) -> None:
    """A request line has a method, a target and a version, with single spaces between them."""
    head = heads.read_request(line + b"\r\n\r\n")
    assert (head.method, head.target, head.version) == (method, target, version)


@pytest.mark.parametrize(
    "head",
    [
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1 \r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"GET\t/ HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.2\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / http/1.1\r\n\r\n",
        b"GET /\r\n\r\n",
        b"G(T / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\n\n",
        GET + b"Host: a\n\r\n",
        GET + b"Host : a\r\n\r\n",
        GET + b" Host: a\r\n\r\n",
        GET + b"X: a\r\n b\r\n\r\n",
        GET + b"X: a\rb\r\n\r\n",
        GET + b"X: a\0\r\n\r\n",
        GET + b"X\r\n\r\n",
        GET + b": a\r\n\r\n",
        GET + b"X: a\r\n",
    ],
)
def test_malformed_requests(head: bytes) -> None:
    """A head that another server could read differently is refused."""
    with pytest.raises(BrokenError):
        heads.read_request(head)


@pytest.mark.parametrize(
    ("head", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200, b"OK"),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", 404, b"Not Found"),
        (b"HTTP/1.1 200 \r\n\r\n", 200, b""),
        (b"HTTP/1.1 200\r\n\r\n", 200, b""),
        (b"HTTP/1.1 200 OK\n\n", 200, b"OK"),
        (b"HTTP/1.1 599 \xe4\r\nX: y\r\n\r\n", 599, b"\xe4"),
    ],
)
def test_responses(head: bytes, status: int, reason: bytes) -> None:
    """A registry's head may deviate a little more than a client's."""
    read = heads.read_response(head)
    assert (read.status, read.reason) == (status, reason)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 O\0K\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n X: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX\r\n\r\n",
        b"<html>\r\n\r\n",
    ],
)
def test_malformed_responses(head: bytes) -> None:
    """An answer is refused if it could break a line for a client, or is not HTTP/1."""
    with pytest.raises(BrokenError):
        heads.read_response(head)


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"", None),
        (GET, None),
        (GET + b"\r", None),
        (GET + b"\r\n", len(GET) + 2),
        (GET + b"\r\nbody\r\n\r\n", len(GET) + 2),
        (b"a\n\n", 3),
    ],
)
def test_end(data: bytes, end: int | None) -> None:
    """A head ends with an empty line; the end is found even if the head comes byte by byte."""
    assert heads.end(data) == end
    if end is not None:
        assert all(heads.end(data[:n], n - 1) is None for n in range(1, end))
        assert heads.end(data[:end], end - 1) == end


@pytest.mark.parametrize(
    ("version", "connection", "closes"),
    [
        (b"HTTP/1.1", None, False),
        (b"HTTP/1.0", None, True),
        (b"HTTP/1.1", b"close", True),
        (b"HTTP/1.1", b"a ,\tClose", True),
        (b"HTTP/1.1", b"closed", False),
        (b"HTTP/1.0", b"Keep-Alive", False),
        (b"HTTP/1.0", b"keep-alive, close", True),
    ],
)
def test_connections_that_close(version: bytes, connection: bytes | None, closes: bool) -> None:
    """Connections stay open with HTTP/1.1, and with HTTP/1.0 only if both sides ask for it."""
    fields = {} if connection is None else {b"connection": connection}
    assert heads.closes(version, fields) is closes


def test_write() -> None:
    """A written head can be read again."""
    head = heads.write(b"GET /x HTTP/1.1", ((b"Host", b"a"), (b"X", b"")))
    assert head == b"GET /x HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n"
    assert heads.read_request(head).target == b"/x"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\n\r\n"])
def test_a_head_in_portions(size: int, end: bytes) -> None:
    """A head is returned as soon as its end arrives, with all bytes received by then."""
    head, behind = b"GET / HTTP/1.1\r\nA: b" + end, b"GET"
    data, begun, came = head + behind, heads.Begun(), b""
    for at in range(0, len(data), size):
        part = data[at : at + size]
        came += part
        if not begun.data and not at:
            begun.begin(part)
            got = came if end in came else None
        else:
            got = begun.more(part, 10**6)
        if got is not None:
            assert got == came
            assert head in got
            assert len(got) - len(head) < size
            assert size > len(data) or not begun.data
            return
    pytest.fail("no end")


def test_a_head_that_is_too_long() -> None:
    """A head that is too long is returned as it is, for the caller to refuse."""
    begun = heads.Begun()
    begun.begin(b"a")
    assert begun.more(b"b", 3) is None
    assert begun.more(b"cd", 3) == b"abcd"
    assert not begun.data
