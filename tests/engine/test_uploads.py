"""The windows of HTTP/2 uploads, with hyper-h2 on both sides."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from support.h2_pair import H2Pair

from addon.engine.exchange import Asked
from addon.engine.uploads import LONG, PORTION, SHORT, Uploads

WINDOW = 65_535


class Bench:
    """Uploads on a connection; `room` tells whether the registry can take more."""

    def __init__(self) -> None:
        self.room = True
        self.pair = H2Pair()
        self.woken: list[tuple[float, Callable[[], None]]] = []
        self.uploads = Uploads(
            self.pair.server,
            lambda _: self.room,
            lambda seconds, then: self.woken.append((seconds, then)),
            self.flush,
        )
        self.exchanges: dict[int, Any] = {}

    def flush(self) -> None:
        """Pass on the bytes that wait on both sides."""
        self.pair.pass_on()

    def send(self, key: int, size: int) -> None:
        """Send a part of a body, and give it to its exchange."""
        if key not in self.exchanges:
            self.exchanges[key] = SimpleNamespace(waits=False, asked=Asked.STREAMED)
            self.pair.request(key)
        left = size
        while left:
            part = min(left, self.pair.client.max_outbound_frame_size)
            self.pair.client.send_data(key, bytes(part))
            self.pair.pass_on()
            self.uploads.received(key, part, self.exchanges[key])
            left -= part
        self.pair.pass_on()

    def windows(self, key: int) -> tuple[int, int]:
        """Return how many bytes the client may send on the connection and on a stream."""
        stream = self.pair.client.streams[key].outbound_flow_control_window
        return self.pair.client.outbound_flow_control_window, stream

    def ring(self) -> float:
        """Make the call that waits; return the seconds after which it was due."""
        ((seconds, then),) = self.woken
        self.woken.clear()
        then()
        return seconds


def test_small_parts() -> None:
    """Windows are reopened in large steps, not for each frame."""
    bench = Bench()
    bench.send(1, PORTION - 1)
    assert bench.windows(1) == (WINDOW - PORTION + 1,) * 2
    bench.send(1, 1)
    assert bench.windows(1) == (WINDOW, WINDOW)
    assert not bench.uploads.is_stopped(1)
    assert bench.woken == []


def test_a_slow_registry() -> None:
    """Without room only its own stream's window stays closed; other streams go on."""
    bench = Bench()
    bench.room = False
    bench.send(1, PORTION)
    assert bench.windows(1) == (WINDOW, WINDOW - PORTION)
    assert bench.uploads.is_stopped(1)
    bench.ring()
    assert bench.uploads.is_stopped(1)
    bench.room = True
    bench.send(3, PORTION)
    assert bench.windows(3) == (WINDOW, WINDOW)
    bench.ring()
    assert bench.windows(1) == (WINDOW, WINDOW)
    assert (bench.uploads.is_stopped(1), bench.woken) == (False, [])


def test_pauses() -> None:
    """The longer the registry is busy, the rarer the checks, up to a limit."""
    bench = Bench()
    bench.room = False
    bench.send(1, PORTION)
    pauses = [bench.ring() for _ in range(20)]
    assert pauses[:3] == [SHORT, 2 * SHORT, 4 * SHORT]
    assert pauses[-1] == LONG
    bench.room = True
    bench.ring()
    bench.room = False
    bench.send(1, PORTION)
    assert bench.ring() == SHORT


@pytest.mark.parametrize(
    ("waits", "asked", "stopped"),
    [
        (True, Asked.HELD, True),
        (True, Asked.STREAMED, True),
        (False, Asked.STREAMED, True),
        # A held body does not depend on the registry.
        (False, Asked.HELD, False),
    ],
)
def test_stopped_streams(waits: bool, asked: Asked, stopped: bool) -> None:
    """A stream is stopped while its exchange waits, or its registry has no room."""
    bench = Bench()
    bench.room = False
    bench.send(1, 1)
    bench.exchanges[1].waits, bench.exchanges[1].asked = waits, asked
    bench.send(1, PORTION - 1)
    assert bench.uploads.is_stopped(1) is stopped


def test_dropped_bodies() -> None:
    """The window of a stream whose body is dropped is reopened at once."""
    bench = Bench()
    bench.room = False
    bench.send(1, PORTION + 5)
    bench.uploads.drop(1)
    bench.pair.pass_on()
    assert bench.windows(1)[1] == WINDOW
    bench.ring()
    assert bench.woken == []


def test_forgotten_streams() -> None:
    """A stream that has ended is not checked again."""
    bench = Bench()
    bench.room = False
    bench.send(1, PORTION)
    bench.uploads.forget(1)
    bench.ring()
    assert bench.woken == []
    assert bench.windows(1)[1] == WINDOW - PORTION
