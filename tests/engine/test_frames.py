"""Ends of HTTP/2 and WebSocket frames, with bytes cut anywhere."""

from __future__ import annotations

import pytest

from addon.engine.frames import (
    FRAMES_AT_ONCE,
    HTTP2_PREFACE,
    Frames,
    http2_length,
    websocket_length,
)


def http2_frame(size: int) -> bytes:
    return size.to_bytes(3) + bytes(6) + b"x" * size


FRAMES = {
    "HTTP/2": (http2_length, [http2_frame(size) for size in (0, 8, 300, 70_000, 1, 2)]),
    "WebSocket": (
        websocket_length,
        [
            b"\x81\0",
            b"\x81\x01x",
            b"\x81\x81\0\0\0\0x",
            b"\x82\x7e\0\x80" + b"x" * 128,
            b"\x82\xfe\x01\0\0\0\0\0" + b"x" * 256,
            b"\x82\x7f" + (70_000).to_bytes(8) + b"x" * 70_000,
            b"\x89\0",
        ],
    ),
}


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100, 10**6])
def test_frames(kind: str, size: int) -> None:
    """Portions end at frame ends or with the received bytes, and nothing is lost."""
    length, frames = FRAMES[kind]
    whole = b"".join(frames * 3)
    ends = {0}
    for frame in frames * 3:
        ends.add(max(ends) + len(frame))
    reader, buffer, got, came = Frames(length), b"", 0, 0
    for at in range(0, len(whole), size):
        buffer += whole[at : at + size]
        came += len(whole[at : at + size])
        while end := reader.portion(buffer):
            before, got, buffer = got, got + end, buffer[end:]
            assert got in ends or got == came
            assert sum(before < each < got for each in ends) < FRAMES_AT_ONCE
    assert (got, buffer) == (len(whole), b"")


def test_a_preface() -> None:
    """The connection preface is not a frame."""
    reader = Frames(http2_length, HTTP2_PREFACE)
    data = bytes(HTTP2_PREFACE) + http2_frame(3)
    assert reader.portion(data[:10]) == 10
    assert reader.portion(data[10:]) == len(data) - 10
