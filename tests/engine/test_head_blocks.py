"""Which HTTP/2 heads are incomplete."""

from __future__ import annotations

import pytest

from addon.engine.head_blocks import HeadBlocks

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, CONTINUATION = 0, 1, 4, 6, 9
ENDS_STREAM, ENDS_HEADERS = 1, 4


def frame(kind: int, flags: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + (1).to_bytes(4) + payload


WHOLE = frame(HEADERS, ENDS_HEADERS, b"abc")
BEGIN = frame(HEADERS, ENDS_STREAM, b"abc")


@pytest.mark.parametrize(
    ("sent", "complete"),
    [
        (b"", False),
        (PREFACE[:5], False),
        (PREFACE, True),
        (PREFACE + frame(SETTINGS, 0), True),
        (PREFACE + WHOLE, True),
        (PREFACE + BEGIN, False),
        (PREFACE + BEGIN + frame(CONTINUATION, 0, b"d"), False),
        (PREFACE + BEGIN + frame(CONTINUATION, ENDS_HEADERS, b"d"), True),
        (PREFACE + BEGIN + frame(CONTINUATION, ENDS_HEADERS), True),
        (PREFACE + WHOLE[:-1], False),
        (PREFACE + WHOLE[:4], False),
        (PREFACE + WHOLE + frame(PING, 0, bytes(8))[:-1], False),
        # An incomplete body is not an incomplete head.
        (PREFACE + WHOLE + frame(DATA, 0, bytes(99))[:-1], True),
        (PREFACE + WHOLE + frame(DATA, 0, bytes(99)), True),
        # DATA has no such flag, but its value is a flag of other frames.
        (PREFACE + WHOLE + frame(DATA, ENDS_HEADERS) + frame(SETTINGS, 0), True),
    ],
)
def test_unfinished_heads(sent: bytes, complete: bool) -> None:
    """An incomplete head is noticed however the bytes are cut."""
    for size in (1, 7, len(sent) or 1):
        blocks = HeadBlocks()
        for at in range(0, len(sent), size):
            blocks.feed(sent[at : at + size])
        assert (blocks.unfinished() is None) is complete


def test_size() -> None:
    """All frames of an incomplete head count; a body and a complete head do not."""
    blocks = HeadBlocks()
    blocks.feed(PREFACE + frame(HEADERS, 0, bytes(1000)) + frame(CONTINUATION, 0, bytes(2000)))
    assert blocks.size == 3000
    blocks.feed(frame(CONTINUATION, 0, bytes(500))[:-100])
    assert blocks.size == 3400
    blocks.feed(bytes(100) + frame(CONTINUATION, ENDS_HEADERS, b"e"))
    assert blocks.size == 0
    blocks.feed(frame(DATA, 0, bytes(1000))[:-1])
    assert blocks.size == 0


def test_numbers() -> None:
    """An incomplete head keeps its number until it is complete; the next one gets another."""
    blocks = HeadBlocks()
    blocks.feed(PREFACE + BEGIN)
    first = blocks.unfinished()
    blocks.feed(frame(CONTINUATION, 0, b"d"))
    assert blocks.unfinished() == first
    blocks.feed(frame(CONTINUATION, ENDS_HEADERS, b"e") + BEGIN)
    assert blocks.unfinished() not in (first, None)
