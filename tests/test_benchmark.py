"""The basis of the benchmark's figures: percentiles, order, targets and start of waiting."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from bench.open_loop import latencies, percentile
from bench.results import Row
from bench.session import alternate


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (10, 1), (50, 5), (51, 6), (99, 10), (100, 10)]
)
def test_percentile(percent: float, expected: float) -> None:
    """A percentile is the nearest rank of values in any order."""
    assert percentile([3, 1, 2, 10, 9, 8, 7, 6, 5, 4], percent) == expected


def test_the_order_alternates() -> None:
    """The order alternates, so that no way is always first or always last."""
    gone: list[str] = []
    ways = {name: lambda name=name: gone.append(name) for name in "ab"}
    alternate(4, ways, quiet=True)
    assert "".join(gone) == "abbabaab"


def test_targets() -> None:
    """The median decides whether a target is met, or the largest value if `worst` is set."""
    assert Row("", "", "x", [1.2, 0.9, 1.1], ">=", 1).met is True
    assert Row("", "", "x", [1.2, 0.9, 1.1], "<=", 1).met is False
    assert Row("", "", "MiB", [90, 101, 91], "<", 100, worst=True).met is False
    assert Row("", "", "x", [], ">=", 1, note="not available").met is None
    assert str(Row("", "", "x", [1.2, 0.9, 1.1], ">=", 1)) == "1.10x (0.90 to 1.20)"


@pytest.fixture
def stalling() -> Iterator[str]:
    """A server that answers at once, but stalls for half a second at its 20th request."""
    gate, count = threading.Lock(), iter(range(10**6))

    def serve(connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                with gate:
                    if next(count) == 20:
                        time.sleep(0.5)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # The listener was closed.
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def test_requests_due_during_a_stall_are_late(stalling: str) -> None:
    """About half of 200 requests in a second are due during a stall and count as late, not one.

    All 64 connections are busy before the stall ends, so some requests wait to be sent, and that
    time counts. A slow machine makes more of them late, never fewer.
    """
    got = latencies(stalling, "/", rate=200, seconds=1)
    assert len(got) == 200
    assert max(got) >= 500
    assert sum(latency >= 100 for latency in got) >= 80
    assert sum(latency >= 300 for latency in got) >= 40
