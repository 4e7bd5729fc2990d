"""The time limit for HTTP/2 heads, with a clock that the test moves."""

from __future__ import annotations

import pytest
from support.clock import Clock

from addon.engine.head_times import HeadTimes
from addon.engine.heads import UNCOUNTED

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WHOLE = b"\0\0\1\1\4\0\0\0\1x"
"""A HEADERS frame that ends its head."""
BEGIN = b"\0\0\1\1\0\0\0\0\3x"
END = b"\0\0\0\x09\4\0\0\0\3"
"""A CONTINUATION frame that ends the head."""


def no_hold(size: int) -> None:
    """Fail: these heads are too short to be counted."""
    pytest.fail(f"{size} bytes are counted")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that the test moves."""
    return Clock(monkeypatch)


def test_head_times(clock: Clock) -> None:
    """A later HTTP/2 head has its own limit, which further bytes of it do not extend."""
    times = HeadTimes(clock.wake_up, lambda: 10, clock.note, no_hold)
    times.received(PREFACE + BEGIN)
    # The first request has a limit of its own, elsewhere.
    assert (times.begun, clock.calls) == (False, [])
    times.watching = True
    times.received(END + WHOLE)
    assert not times.begun
    times.received(BEGIN[:-1])
    assert times.begun
    clock.pass_until(1009)
    times.received(BEGIN[-1:])
    clock.pass_until(1011)
    assert clock.late == [1010]


def test_head_times_of_complete_heads(clock: Clock) -> None:
    """Each head begins a new limit, and complete heads end it."""
    times = HeadTimes(clock.wake_up, lambda: 10, clock.note, no_hold)
    times.watching = True
    times.received(PREFACE)
    for _ in range(5):
        times.received(BEGIN)
        clock.pass_until(clock.now + 9)
        times.received(END)
    clock.pass_until(clock.now + 100)
    assert (clock.late, clock.calls, times.begun) == ([], [], False)


def test_the_bytes_of_a_head(clock: Clock) -> None:
    """A head counts once it is larger than what every connection may hold, until its end."""
    held: list[int] = []
    times = HeadTimes(clock.wake_up, lambda: 10, clock.note, held.append)
    frame = b"\0\x20\0\x01\0\0\0\0\3"
    times.received(PREFACE + frame + b"x" * UNCOUNTED)
    assert held == []
    times.received(b"x" * UNCOUNTED)
    times.received(END)
    assert held == [2 * UNCOUNTED, 0]
