"""Interim answers and lengths, read from bytes."""

from __future__ import annotations

import pytest

from addon.protocol import framing


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
    """Complete interim answers are found; 101 is not one, as another protocol follows."""
    assert framing.interim_end(data) == end


@pytest.mark.parametrize(
    ("value", "length"),
    [
        *(("0", 0), ("123", 123), ("0123", None), ("", None), ("-1", None), ("1\n", None)),
        *(("²", None), ("٣", None), ("9" * 19, 10**19 - 1), ("9" * 20, None)),
    ],
)
def test_lengths(value: str, length: int | None) -> None:
    """A length that Python or a server would read differently is refused."""
    assert framing.content_length(value.encode()) == length


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ({b"content-length": b"7"}, 7),
        ({b"content-length": b"0"}, 0),
        ({}, None),
        ({b"content-length": b"7", b"transfer-encoding": b"chunked"}, None),
        ({b"content-length": b"+7"}, None),
    ],
)
def test_announced_length(fields: dict[bytes, bytes], length: int | None) -> None:
    """The declared length counts only without a transfer coding, and if it is valid."""
    assert framing.announced(fields) == length
