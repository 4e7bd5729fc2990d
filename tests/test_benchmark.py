"""The basis of the benchmark's figures: percentiles, order, targets, ratios, start of waiting."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import clients, fairness, fixed_rates, instructions, main, small_requests
from bench.closed_loop import Load
from bench.fairness import Waits
from bench.open_loop import latencies, percentile
from bench.results import Row
from bench.session import Session, alternate


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


def figures(rows: Iterator[Row]) -> dict[tuple[str, str], tuple[float, bool | None]]:
    """Return the figure of each row, and whether it meets its target."""
    return {(row.name, row.against): (row.figure, row.met) for row in rows}


def test_rates_are_better_if_higher_and_latencies_if_lower() -> None:
    """Each row compares the right two servers, and its target is on the right side."""
    session = Session(Path("/none"), 12, pairs=2, quick=True)
    rates = {"proxy": 1600, "bare": 400, "nginx": 16000, "httpx": 40}
    rates |= {"logging": 1440, "measuring": 1520}
    loads = {name: [Load(rate, 2000 / rate)] * 2 for name, rate in rates.items()}
    assert figures(small_requests.rows(session, 1, loads)) == {
        ("small requests, 1 connection: requests/s", "bare mitmdump -q"): (4, True),
        ("small requests, 1 connection: requests/s", "nginx with the same rewrite"): (0.1, False),
        ("small requests, 1 connection: median latency", "bare mitmdump -q"): (0.25, True),
        ("small requests, 1 connection, access log on: requests/s", "access log off"): (0.9, False),
        ("small requests, 1 connection, metrics on: requests/s", "metrics off"): (0.95, True),
        ("small requests, 1 connection: requests/s", "FastAPI + httpx"): (40, True),
    }


def test_waits_beside_a_load() -> None:
    """A wait is compared with the same client's wait alone; only the proxy has a target."""
    waits = {
        "proxy": [Waits(alone=2, beside=4), Waits(alone=1, beside=9), Waits(alone=1, beside=3)],
        "bare": [Waits(alone=1, beside=50)],
    }
    assert figures(fairness.rows("pings", waits)) == {
        ("median latency beside pings", "the same client alone"): (3, True),
        ("bare mitmdump -q, median latency beside pings", "the same client alone"): (50, None),
    }


def test_fixed_rates() -> None:
    """A cell has the medians over the rounds, unless most rounds could not keep up."""
    lost = (float("inf"),) * 3
    assert fixed_rates._cell([(1, 5, 9), (3, 4, 8), (2, 6, 30)]) == "2.0 / 5.0 / 9.0"
    assert fixed_rates._cell([(1, 5, 9), lost, (3, 7, 11)]) == "3.0 / 7.0 / 11.0"
    assert fixed_rates._cell([(1, 5, 9), lost, lost]) == "cannot keep up"


@pytest.mark.parametrize("word", ["summary", "totals"])
def test_instructions(tmp_path: Path, word: str) -> None:
    """The total is that of the first dump; the file of the end also counts the shutdown."""
    counted = tmp_path / "counted"
    counted.write_text("summary: 99\n")
    counted.with_name("counted.1").write_text(f"events: Ir\nfn=(1)\n1 5\n{word}: 7000000 1\n")
    assert instructions._total(counted) == 7_000_000


def test_results_are_added(tmp_path: Path) -> None:
    """A measurement replaces its older results; other ones, and other lines, stay."""
    file = tmp_path / "new" / "bench.json"
    main.add(file, 11, "job", {"a": 1})
    main.add(file, 12, "job", {"a": 2})
    main.add(file, 12, "start", {"a": 3})
    main.add(file, 12, "job", {"a": 4})
    assert json.loads(file.read_text()) == {
        "11": {"job": {"a": 1}},
        "12": {"job": {"a": 4}, "start": {"a": 3}},
    }
    assert [*file.parent.iterdir()] == [file]


def test_a_few_at_a_time() -> None:
    """Each item gets its work once, and only a few are in work at any time."""
    done: list[int] = []
    busy: list[int] = [0]

    async def work(item: int) -> None:
        busy.append(busy[-1] + 1)
        await asyncio.sleep(0)
        done.append(item)
        busy.append(busy[-1] - 1)

    asyncio.run(clients._for_all(range(100), work))
    assert sorted(done) == [*range(100)]
    assert max(busy) == clients.AT_ONCE


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
