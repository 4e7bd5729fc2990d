"""Bodies in chunks, heads and interim answers, from bytes."""

from __future__ import annotations

import h11
import pytest
from h11._receivebuffer import ReceiveBuffer

from addon import framing


def read(data: bytes, portion: int) -> tuple[bytes, bytes]:
    """The body, and what is left behind it, when bytes come in portions."""
    reader, buffer, body = framing.ChunkedReader(), ReceiveBuffer(), b""
    for at in range(0, len(data), portion):
        buffer += data[at : at + portion]
        while (event := reader(buffer)) is not None:
            if isinstance(event, h11.EndOfMessage):
                return body, bytes(buffer) + data[at + portion :]
            body += event.data
    raise EOFError


@pytest.mark.parametrize("portion", [1, 2, 3, 1000])
def test_chunks(portion: int) -> None:
    """The body ends behind its trailers, however it comes."""
    data = b"3;a=b\r\n{}\n\r\n00a \r\n0123456789\r\n0;x\r\nA: b\r\nC:\r\n\r\n"
    assert read(data + b"GET /", portion) == (b"{}\n0123456789", b"GET /")


@pytest.mark.parametrize("portion", [1, 2, 1000])
@pytest.mark.parametrize(
    "data",
    [
        *(b"0x1\r\na\r\n", b"+1\r\na\r\n", b"1\na\r\n", b"1\r\nab\r\n", b"1\r\na\n0\r\n"),
        *(b"\r\n", b"1;\0\r\na\r\n", b"0\r\nA : b\r\n", b"0\r\n b\r\n", b"0\r\nA: b\n\r\n"),
        b"1" * 16 + b"\r\n",
        b"1;" + b"a" * framing.LINE_LIMIT,
        b"0\r\n" + b"A: b\r\n" * (framing.LINE_LIMIT // 6 + 1),
    ],
)
def test_no_chunks(data: bytes, portion: int) -> None:
    """Anything else is an error as soon as it is there."""
    with pytest.raises(h11.RemoteProtocolError, match="malformed chunk"):
        read(data, portion)


def test_a_body_that_is_cut() -> None:
    """The end of a connection is not the end of a body."""
    with pytest.raises(h11.RemoteProtocolError):
        framing.ChunkedReader().read_eof()


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", 25),
        (b"HTTP/1.1 100 A\r\n\r\nHTTP/1.1 103 B\r\n\r\nHTTP/1.1 103", 36),
        (b"HTTP/1.1 100 A\r\n\r\nHTTP/1.1 101 B\r\n\r\n", 18),
        (b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n", None),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", None),
        (b"HTTP/1.1 1000 OK\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\n\r\n", None),
    ],
)
def test_interim_answers(data: bytes, end: int | None) -> None:
    """Complete ones are found; 101 is none, as another protocol follows."""
    assert framing.interim_end(data) == end


@pytest.mark.parametrize(
    ("value", "length"),
    [
        *(("0", 0), ("0123", 123), ("", None), ("-1", None), ("1\n", None)),
        *(("²", None), ("٣", None), ("9" * 5000, None)),
    ],
)
def test_lengths(value: str, length: int | None) -> None:
    """What Python would read as a number, or stumble over, is none."""
    assert framing.content_length(value.encode()) == length
