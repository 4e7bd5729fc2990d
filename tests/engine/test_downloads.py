"""Answers to HTTP/2 clients and their windows, with hyper-h2 on both sides."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import h2.events
import pytest
from support.clock import Clock
from support.h2_pair import H2Pair
from support.permissive import Permissive

from addon.engine.downloads import BACKLOG, Downloads, Stream

WINDOW = 1000


class Addon(Permissive):
    """Keeps the pauses of reading, and the clients that are watched."""

    def __init__(self) -> None:
        super().__init__()
        self.paced: list[bool] = []
        self.watched = 0

    def pace(self, _client: Any, _connection: Any, wanted: bool) -> None:
        """Keep whether reading goes on."""
        self.paced.append(wanted)

    def await_window(self, _client: Any, _untaken: Any) -> None:
        """Count the call."""
        self.watched += 1


class Bench:
    """Answers on a connection."""

    def __init__(self) -> None:
        self.pair = H2Pair(WINDOW)
        self.addon = Addon()
        self.streams: dict[int, Stream] = {}
        self.over: list[int] = []
        self.ended: list[int] = []
        client: Any = None
        self.downloads = Downloads(
            self.pair.server,
            self.streams,
            client,
            self.addon,
            lambda key, _: self.over.append(key),
        )

    def begin(self, key: int) -> Stream:
        """Begin an answer."""
        exchange: Any = SimpleNamespace(upstream=SimpleNamespace(conn=None))
        self.pair.request(key)
        self.pair.server.send_headers(key, [(":status", "200")])
        self.streams[key] = stream = Stream(exchange)
        return stream

    def send(self, key: int, data: bytes = b"", *, complete: bool = False) -> None:
        """Send a part of an answer."""
        if data:
            self.streams[key].add(data)
        self.streams[key].complete = complete
        self.downloads.send(key)

    def received(self) -> dict[int, bytes]:
        """Return the bytes that the client gets, by stream; keep which streams end."""
        got: dict[int, bytes] = {}
        for event in self.pair.pass_on():
            if isinstance(event, h2.events.DataReceived):
                got[event.stream_id] = got.get(event.stream_id, b"") + (event.data or b"")
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.append(event.stream_id)
        return got


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that the test moves."""
    return Clock(monkeypatch)


def test_parts_within_the_window() -> None:
    """A part that fits is sent at once, and the last one ends the stream."""
    bench = Bench()
    bench.begin(1)
    bench.send(1, b"abc")
    assert bench.received() == {1: b"abc"}
    assert (bench.over, bench.ended, bench.addon.watched) == ([], [], 0)
    bench.send(1, b"d", complete=True)
    assert (bench.received(), bench.over, bench.ended) == ({1: b"d"}, [1], [1])


def test_an_empty_end() -> None:
    """An answer that is already sent ends without further data."""
    bench = Bench()
    bench.begin(1)
    bench.send(1, complete=True)
    assert (bench.received(), bench.over, bench.ended) == ({1: b""}, [1], [1])


def test_beyond_the_window() -> None:
    """The rest waits for the client's window, byte by byte if need be, and nothing is lost."""
    bench = Bench()
    stream = bench.begin(1)
    data = bytes(range(256)) * 5
    bench.send(1, data[:700])
    bench.send(1, data[700:], complete=True)
    got = bench.received()[1]
    assert (len(got), stream.size, bench.over) == (WINDOW, len(data) - WINDOW, [])
    assert bench.addon.watched == 1
    while not bench.over:
        bench.pair.client.increment_flow_control_window(7, 1)
        bench.pair.pass_on()
        bench.downloads.send(1)
        got += bench.received()[1]
    assert got == data


def test_pauses() -> None:
    """Reading from the registry pauses while much of an answer waits."""
    bench = Bench()
    stream = bench.begin(1)
    bench.send(1, bytes(WINDOW + BACKLOG))
    assert bench.addon.paced == []
    bench.send(1, b"x")
    bench.send(1, b"x")
    assert bench.addon.paced == [False]
    bench.received()
    bench.pair.client.increment_flow_control_window(2, 1)
    bench.pair.pass_on()
    bench.downloads.send(1)
    assert bench.addon.paced == [False, True]
    bench.downloads.let_go(stream)
    assert bench.addon.paced == [False, True]
    bench.send(1, b"xy")
    bench.downloads.let_go(stream)
    assert bench.addon.paced == [False, True, False, True]


def test_bytes_that_are_not_taken(clock: Clock) -> None:
    """The time without room counts from the last byte that had room, for each stream."""
    bench = Bench()
    bench.begin(1)
    bench.begin(3)
    assert bench.downloads.untaken() is None
    bench.send(1, bytes(WINDOW + 1))
    clock.now += 10
    bench.send(3, bytes(WINDOW + 1))
    clock.now += 5
    bench.send(1, b"x")
    assert bench.downloads.untaken() == 15
    assert [key for key, _ in bench.downloads.without_room(15)] == [1]
    assert [key for key, _ in bench.downloads.without_room(5)] == [1, 3]
    bench.received()
    bench.pair.client.increment_flow_control_window(1, 1)
    bench.pair.pass_on()
    bench.downloads.send(1)
    assert bench.downloads.untaken() == 5
    bench.downloads.closed = True
    assert bench.downloads.untaken() is None


def test_a_window_that_others_use_up(clock: Clock) -> None:
    """A stream that waits for the connection's window is not blamed while others have room."""
    bench = Bench()
    bench.pair = H2Pair(100_000)
    bench.downloads._h2 = bench.pair.server
    bench.begin(1)
    bench.begin(3)
    bench.send(1, bytes(65_535))
    bench.send(3, b"x")
    clock.now += 10
    bench.received()
    bench.pair.client.increment_flow_control_window(7)
    bench.pair.pass_on()
    bench.send(1, b"1234567")
    clock.now += 2
    assert bench.downloads.untaken() == 2
