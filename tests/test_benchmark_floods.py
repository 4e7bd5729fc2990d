"""The benchmark's loads from one client: they are what they are called."""

from __future__ import annotations

import socket
import threading

import hpack
import pytest
from bench import floods, transfers
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PingFrame, RstStreamFrame

BODY = b"x" * 1000
HEAD = b"PUT /up HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"


def read(data: bytes) -> Frame:
    """Read a frame as other implementations of HTTP/2 do."""
    frame, length = Frame.parse_frame_header(memoryview(data[:9]))
    assert length == len(data) - 9
    frame.parse_body(memoryview(data[9:]))
    return frame


def test_frames() -> None:
    """The frames are those of RFC 9113."""
    data = read(floods._frame(floods._DATA, b"x", 1))
    assert isinstance(data, DataFrame)
    assert (data.stream_id, data.data, {*data.flags}) == (1, b"x", set())
    flags = floods._END_HEADERS | floods._END_STREAM
    head = read(floods._frame(floods._HEADERS, b"block", 2**20 + 1, flags))
    assert isinstance(head, HeadersFrame)
    assert (head.stream_id, head.data) == (2**20 + 1, b"block")
    assert {*head.flags} == {"END_HEADERS", "END_STREAM"}
    reset = read(floods._frame(floods._RESET, b"\0\0\0\x08", 3))
    assert isinstance(reset, RstStreamFrame)
    assert reset.error_code == 8  # CANCEL
    assert isinstance(read(floods._frame(floods._PING, bytes(8))), PingFrame)


def test_header_blocks() -> None:
    """The second block is short, and means the same to a decoder that has read the first."""
    first, others = floods._header_blocks("GET", "/path")
    decoder = hpack.Decoder()
    fields = [*decoder.decode(first, raw=True)]
    assert [*decoder.decode(others, raw=True)] == [*decoder.decode(others, raw=True)] == fields
    assert (b":path", b"/path") in fields
    assert len(others) == len(fields)


@pytest.mark.parametrize(
    ("parts", "answer"),
    [
        ([HEAD + BODY], b"HTTP/1.1 201 "),
        ([HEAD[:20], HEAD[20:], BODY[:1], BODY[1:]], b"HTTP/1.1 201 "),
        ([HEAD + BODY[1:]], b""),
        ([HEAD[:20]], b""),
    ],
)
def test_an_upload_that_is_dropped(parts: list[bytes], answer: bytes) -> None:
    """Only a whole body gets an answer."""
    client, server = socket.socketpair()
    dropping = threading.Thread(target=transfers.drop_upload, args=(server,))
    dropping.start()
    with client:
        for part in parts:
            client.sendall(part)
        client.shutdown(socket.SHUT_WR)
        received = client.recv(65536)
    dropping.join()
    assert received[: len(b"HTTP/1.1 201 ")] == answer
