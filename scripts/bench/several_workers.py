"""Measures several workers behind HAProxy, started by scripts/run.sh --workers N."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import lab
from bench import servers, transfers
from bench.closed_loop import load
from bench.results import Row, ratios
from bench.session import Session, alternate

ALONE, ONE, TWO = "one without HAProxy", "one worker", "two workers"
CONNECTIONS = 16


def measure(session: Session) -> Iterator[Row]:
    """Yield the throughput of two workers to one, and of one behind HAProxy to one without.

    Load, registry, HAProxy and workers share the machine: with as many cores as workers, the second
    worker only gets the rest.
    """
    folder = session.folder / "workers"
    with servers.small_registry(folder / "registry") as registry, ExitStack() as running:
        requests = {
            name: partial(_rate, session, url)
            for name, url in start(running, folder / "small", registry.url).items()
        }
        yield from _rows(session, f"small requests, {CONNECTIONS} connections", requests)
    with transfers.kinds(session) as kinds:
        for direction, upstream, transfer in kinds:
            with ExitStack() as running:
                moves = {
                    name: partial(_speed, partial(transfers.together, 4, transfer), url)
                    for name, url in start(running, folder / direction, upstream).items()
                }
                name = f"{direction} of {session.size_name}, 4 at once"
                yield from _rows(session, name, moves)


def start(running: ExitStack, folder: Path, upstream: str) -> dict[str, str]:
    """Start the compared servers; return their URLs."""
    started = {ALONE: servers.proxy(folder / "alone", upstream)}
    started |= {
        ONE: workers(folder / "one", upstream, 1),
        TWO: workers(folder / "two", upstream, 2),
    }
    for server in started.values():
        # Workers drain first. Killing them would leave HAProxy behind.
        running.callback(server.stop, seconds=60)
    return {name: server.url for name, server in started.items()}


def workers(folder: Path, upstream: str, count: int) -> lab.Server:
    """Start workers and HAProxy."""
    # No grace: no clients are left when they are stopped.
    rules = servers.write_rules(folder / "rules.yaml", drain={"grace": 0})
    port = lab.free_port()
    options = ("--set", f"mlflow_rules={rules}", "-q")
    command = lab.workers_command(upstream, count, port=port, options=options)
    url, env = f"http://127.0.0.1:{port}", lab.workers_environment()
    return lab.Server(command, url=url, log=folder / "log", env=env).wait("/livez")


def _rate(session: Session, url: str) -> float:
    return load(url + servers.API, CONNECTIONS, session.seconds).rate


def _speed(transfer: Callable[[str], None], url: str) -> float:
    start = time.perf_counter()
    transfer(url)
    return 1 / (time.perf_counter() - start)


def _rows(session: Session, what: str, ways: Mapping[str, Callable[[], float]]) -> Iterator[Row]:
    for warm_up in ways.values():
        warm_up()
    got = alternate(session.pairs, ways)
    for way, against in ((TWO, ONE), (ONE, ALONE)):
        name = f"{what}: {way} behind HAProxy"
        yield Row(name, against, "x", ratios(got[way], got[against]), raw=got)
