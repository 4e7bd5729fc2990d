"""The framing of answers to HTTP/1 clients."""

from __future__ import annotations

import pytest

from addon.engine import heads, messages
from addon.engine.http1_framing import AnswerFraming
from addon.protocol.headers import Pairs

LENGTH = ((b"Content-Length", b"3"),)
CHUNKED = ((b"Transfer-Encoding", b"chunked"),)
CLOSE = (b"Connection", b"close")
OK = b"HTTP/1.1 200 OK"


def answer(
    request: bytes,
    pairs: Pairs,
    *,
    streamed: bool = True,
    status: int = 200,
    version: bytes = b"HTTP/1.1",
    draining: bool = False,
) -> tuple[AnswerFraming, heads.ResponseHead]:
    """Return the framing of the answer to a request, and the head that the client gets."""
    asked = heads.read_request(request + b"\r\n\r\n")
    framing = AnswerFraming(lambda: draining)
    framing.begin(asked)
    response = messages.response(pairs, version=version, status=status, reason=b"OK", timestamp=0.0)
    sent = heads.read_response(framing.head(response, streamed=streamed))
    return framing, sent


@pytest.mark.parametrize(
    ("request_line", "status", "pairs", "streamed", "sent", "chunked", "unframed", "closes"),
    [
        (b"GET / HTTP/1.1", 200, LENGTH, True, LENGTH, False, False, False),
        (b"GET / HTTP/1.1", 200, CHUNKED, True, CHUNKED, True, False, False),
        # A body of unknown length: chunks, or the end of the connection.
        (b"GET / HTTP/1.1", 200, (), True, CHUNKED, True, False, False),
        (b"GET / HTTP/1.1", 200, (), False, (), False, True, True),
        (b"GET / HTTP/1.0", 200, (), True, (CLOSE,), False, True, True),
        (b"GET / HTTP/1.0", 200, CHUNKED, True, (CLOSE,), False, True, True),
        (b"GET / HTTP/1.0", 200, LENGTH, True, (*LENGTH, CLOSE), False, False, True),
        # Answers without a body.
        (b"HEAD / HTTP/1.1", 200, (), True, (), False, False, False),
        (b"HEAD / HTTP/1.1", 200, CHUNKED, True, CHUNKED, False, False, False),
        (b"HEAD / HTTP/1.0", 200, CHUNKED, True, (CLOSE,), False, False, True),
        (b"GET / HTTP/1.1", 204, (), True, (), False, False, False),
        (b"GET / HTTP/1.1", 304, (), True, (), False, False, False),
    ],
)  # fmt: skip
def test_framing(
    request_line: bytes,
    status: int,
    pairs: Pairs,
    streamed: bool,
    sent: Pairs,
    chunked: bool,
    unframed: bool,
    closes: bool,
) -> None:
    """The body ends by its length, by chunks, or with the connection for old clients."""
    framing, head = answer(request_line, pairs, streamed=streamed, status=status)
    assert head.pairs == sent
    assert (framing.chunked, framing.unframed, framing.close_after) == (chunked, unframed, closes)


@pytest.mark.parametrize(
    ("request_head", "pairs", "version", "draining", "sent", "closes"),
    [
        (b"GET / HTTP/1.1", LENGTH, b"HTTP/1.1", False, LENGTH, False),
        (
            b"GET / HTTP/1.1\r\nConnection: close",
            LENGTH,
            b"HTTP/1.1",
            False,
            (*LENGTH, CLOSE),
            True,
        ),
        (b"GET / HTTP/1.1", LENGTH, b"HTTP/1.1", True, (*LENGTH, CLOSE), True),
        # The answer's own field is replaced, not repeated.
        (
            b"GET / HTTP/1.1",
            ((b"connection", b"keep-alive"), *LENGTH),
            b"HTTP/1.1",
            True,
            (*LENGTH, CLOSE),
            True,
        ),
        # The answer itself closes the connection.
        (b"GET / HTTP/1.1", (CLOSE, *LENGTH), b"HTTP/1.1", False, (CLOSE, *LENGTH), True),
        (b"GET / HTTP/1.1", LENGTH, b"HTTP/1.0", False, LENGTH, True),
    ],
)
def test_close(
    request_head: bytes,
    pairs: Pairs,
    version: bytes,
    draining: bool,
    sent: Pairs,
    closes: bool,
) -> None:
    """The connection closes if the client, the answer or the drain asks for it."""
    framing, head = answer(request_head, pairs, version=version, draining=draining)
    assert (head.pairs, framing.close_after) == (sent, closes)


def test_switching_protocols() -> None:
    """A 101 keeps its Connection field, even during the drain."""
    pairs = ((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"))
    _, head = answer(b"GET / HTTP/1.1", pairs, status=101, draining=True)
    assert head.pairs == pairs


def test_versions() -> None:
    """An old registry's answer keeps its version, unless it is sent in chunks."""
    _, held = answer(b"GET / HTTP/1.1", LENGTH, version=b"HTTP/1.0")
    _, streamed = answer(b"GET / HTTP/1.1", (), version=b"HTTP/1.0")
    assert (held.version, streamed.version) == (b"HTTP/1.0", b"HTTP/1.1")
