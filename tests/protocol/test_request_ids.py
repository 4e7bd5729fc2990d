"""Request IDs: kept or made, the same in both directions."""

from __future__ import annotations

import re

import pytest

from addon.protocol import request_ids
from addon.protocol.headers import read

UUID = "1f2e3d4c-5b6a-4789-8abc-def012345678"
MADE = "00-1f2e3d4c5b6a47898abcdef012345678-8abcdef012345678-00"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HOST, STATE = (b"Host", b"x"), (b"Tracestate", b"congo=t61")
Header = tuple[bytes, bytes]


def header(name: str, value: str) -> Header:
    return name.encode(), value.encode("latin-1")


def ours(shown: str = UUID, trace: str = MADE) -> list[Header]:
    return [header("X-Request-Id", shown), header("traceparent", trace)]


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        ([HOST], [HOST, *ours()]),
        # The client's own are kept in place.
        (
            [header("x-request-id", "mine"), HOST, header("Traceparent", TRACE), STATE],
            [header("x-request-id", "mine"), HOST, header("Traceparent", TRACE), STATE],
        ),
        ([header("x-request-id", "mine"), HOST], [HOST, *ours("mine")]),
        ([header("Traceparent", TRACE), STATE], [STATE, *ours(trace=TRACE)]),
        # Unusable IDs count as missing.
        ([header("x-request-id", "a b"), HOST], [HOST, *ours()]),
        ([header("x-request-id", "a"), header("X-Request-Id", "b")], ours()),
        ([header("traceparent", "00-1-2-3"), STATE, HOST], [HOST, *ours()]),
        ([header("traceparent", TRACE), header("traceparent", TRACE)], ours()),
        # A trace state without a trace belongs to no trace of ours.
        ([STATE, HOST], [STATE, HOST, *ours()]),
    ],
)
def test_for_upstream(received: list[Header], sent: list[Header]) -> None:
    """The upstream gets each ID once."""
    fields = read(received)
    names = request_ids.of(fields, UUID)
    assert list(request_ids.for_upstream(tuple(received), fields, names)) == sent


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        (TRACE, True),
        ("01" + TRACE[2:] + "-later", True),
        ("ff" + TRACE[2:], False),
        (TRACE.upper(), False),
        ("00-" + "0" * 32 + TRACE[35:], False),
        (TRACE[:36] + "0" * 16 + "-01", False),
        (TRACE + "0", False),
        ("", False),
    ],
)
def test_traceparent(value: str, valid: bool) -> None:
    """A traceparent must have the form of the W3C recommendation."""
    assert request_ids.of({b"traceparent": value.encode()}, UUID)[1] == header(
        "traceparent", value if valid else MADE
    )


@pytest.mark.parametrize(
    ("answered", "got"),
    [
        ([HOST], [HOST, *ours()]),
        ([header("x-request-id", UUID), HOST], [HOST, *ours()]),
        (
            [header("x-request-id", "theirs"), HOST],
            [HOST, *ours(), header("X-Upstream-Request-Id", "theirs")],
        ),
        ([header("TraceParent", TRACE), HOST], [HOST, *ours()]),
    ],
)
def test_for_client(answered: list[Header], got: list[Header]) -> None:
    """The client gets the IDs of its request; an ID of the upstream is kept under another name."""
    fields = read(answered)
    assert list(request_ids.for_client(tuple(answered), fields, (ours()[0], ours()[1]))) == got


@pytest.mark.parametrize("received", ["4f2a", "1-67890-abc=@x/y:z", "x" * 128])
def test_a_sane_request_id_is_kept(received: str) -> None:
    """A valid ID of the client is kept, so that it can find its request in the log."""
    assert request_ids.request_id(received) == received


@pytest.mark.parametrize("received", [None, "", "a b", "x" * 129, "a\x1b[0m", "a\nb", "é", '"'])
def test_another_request_id_is_made(received: str | None) -> None:
    """An ID that could forge or flood log lines is replaced."""
    made = request_ids.request_id(received)
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert request_ids.request_id(received) != made
