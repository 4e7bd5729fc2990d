"""Bodies of HTTP/1 messages, with bytes cut anywhere."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addon.engine.readers import (
    CHUNKS_AT_ONCE,
    BrokenError,
    Chunked,
    Length,
    Reader,
    UntilEnd,
)


def read(reader: Reader, *portions: bytes) -> tuple[bytes, bytes]:
    """Return the body and the bytes after it."""
    body, rest = b"", b""
    for portion in portions:
        rest += portion
        while rest and not reader.done:
            before = len(rest)
            body += reader.feed(rest)
            rest = reader.rest
            if len(rest) == before:
                break
    return body, rest


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return data in portions."""
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(at)]


@given(st.binary(max_size=50), st.binary(max_size=10), st.lists(st.integers(0, 99), max_size=6))
def test_length(body: bytes, rest: bytes, places: list[int]) -> None:
    """A body has as many bytes as its length says."""
    reader = Length(len(body))
    assert reader.done is (not body)
    if body:
        assert read(reader, *cut(body + rest, places)) == (body, rest)
        assert reader.done


@given(
    st.lists(st.binary(min_size=1, max_size=30), max_size=5),
    st.sampled_from([b"", b"X: y\r\n", b"X: y\r\nZ:\r\n"]),
    st.sampled_from([b"", b";a=b", b" ;a"]),
    st.binary(max_size=10),
    st.lists(st.integers(0, 299), max_size=20),
)
def test_chunks(
    chunks: list[bytes], trailers: bytes, extension: bytes, rest: bytes, places: list[int]
) -> None:
    """Chunks with extensions and trailers, and bytes after them, are read however they are cut."""
    coded = b"".join(b"%x%s\r\n%s\r\n" % (len(c), extension, c) for c in chunks)
    coded += b"0\r\n" + trailers + b"\r\n"
    reader = Chunked()
    assert read(reader, *cut(coded + rest, places)) == (b"".join(chunks), rest)
    assert reader.done


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\n",
        b"\r\n",
        b"-1\r\n",
        b"0x1\r\n",
        b"1\n",
        b"1 2\r\n",
        b"1;a\0\r\n",
        b"1000000000000000\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"1\r\na\r\r",
        b"0\r\n\n",
        b"0\r\nX\r\n",
        b"0\r\nX : y\r\n",
        b"1;" + b"a" * 20_000,
        b"0\r\nX: " + b"a" * 20_000,
        b"0\r\n" + b"X: y\r\n" * 3000,
    ],
)
def test_broken_chunks(data: bytes) -> None:
    """Malformed chunks are refused as soon as they arrive, also byte by byte."""
    with pytest.raises(BrokenError):
        read(Chunked(), data)
    if len(data) < 100:
        with pytest.raises(BrokenError):
            read(Chunked(), *(data[i : i + 1] for i in range(len(data))))


def test_many_small_chunks() -> None:
    """One call reads a limited number of chunks."""
    reader = Chunked()
    data = b"1\r\na\r\n" * (CHUNKS_AT_ONCE + 5)
    first = reader.feed(data)
    assert 0 < len(first) <= CHUNKS_AT_ONCE
    assert first + reader.feed(reader.rest) == b"a" * (CHUNKS_AT_ONCE + 5)
    assert reader.rest == b""


@pytest.mark.parametrize("reader", [Length(3), Chunked()])
def test_an_early_end(reader: Reader) -> None:
    """A connection that ends within a body with a length or chunks is an error."""
    reader.feed(b"1\r\n")[:1]
    if not reader.done:
        with pytest.raises(BrokenError):
            reader.end()


def test_a_body_without_a_length() -> None:
    """A body without a length ends with the connection."""
    reader = UntilEnd()
    assert read(reader, b"a", b"b") == (b"ab", b"")
    assert not reader.done
    reader.end()
    assert reader.done
