"""Rare cases of HTTP/2 clients."""

from __future__ import annotations

from support.http2 import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    SETTINGS,
    Frame,
    block,
    read_streams,
)
from support.plays import Play, Said
from support.sans_io import World

from addon.engine.layer import Engine

HEAD = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a.test"))


def head(number: int) -> bytes:
    """Return a request without a body."""
    pairs = (*HEAD, (b"n", b"%d" % number))
    return Frame(HEADERS, block(pairs), END_HEADERS | END_STREAM).write(2 * number + 1)


def test_requests_at_once() -> None:
    """Each request has its own connection, even while another's is being opened."""
    said = [Said((b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % key,)) for key in range(3)]
    begin = PREFACE + Frame(SETTINGS).write()
    play = Play((begin + head(0) + head(1) + head(2),), tuple(said), alpn=b"h2")
    streams = read_streams(World(Engine, play).run().sent)
    assert [streams[key][0].body for key in (1, 3, 5)] == [b"0", b"1", b"2"]
