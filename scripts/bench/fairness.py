"""Measures how much longer a client waits while another one keeps the proxy busy.

The proxy has one thread for all clients. So while it works for one connection, all others wait.
"""

from __future__ import annotations

import contextlib
import http.client
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import lab
from bench import floods, servers
from bench.clients import core_seconds
from bench.results import Row
from bench.session import Session, alternate
from bench.transfers import serving

LIMIT = 5
"""Allowed latency, as a multiple of the latency without other clients."""
PATIENCE = 20
"""Seconds until the client gives up a request."""
CALM = 300
"""Seconds until a server must have finished the work of a flood that has ended."""

FLOODS: dict[str, floods.Flood] = {
    "an upload in chunks of one byte": floods.one_byte_chunks,
    "3 MB of requests that are refused": floods.refused_requests,
    "255 KiB of GET /%00": floods.malformed_targets,
    "heads that come byte by byte": floods.heads_by_the_byte,
    "HTTP/2: rapid reset": floods.rapid_reset,
    "HTTP/2: DATA frames of one byte": floods.one_byte_frames,
    "HTTP/2: pings": floods.pings,
    "HTTP/2: settings": floods.changes_of_settings,
}
FROM_A_REGISTRY: dict[str, floods.Flood] = {
    "an answer in chunks of one byte": floods.chunked_answers,
    "WebSocket messages of one byte": floods.web_socket_messages,
}
"""Floods that need their own registry."""


@dataclass(frozen=True)
class Waits:
    """Times that a client waits for small requests, one at a time: medians, in milliseconds."""

    alone: float
    beside: float


def measure(session: Session) -> Iterator[Row]:
    """Yield the ratio of median latencies for each load, for the proxy and a bare mitmdump."""
    folder = session.folder / "fairness"
    with ExitStack() as running:
        registry = running.enter_context(servers.small_registry(folder / "registry"))
        other = running.enter_context(serving(floods.answer_in_chunks))
        started, others = {}, {}
        for name in ("proxy", "bare"):
            port = lab.free_port()
            mode = f"reverse:{other}@127.0.0.1:{port}"
            options = ("--mode", mode, "--set", f"confdir={folder / name}")
            start = servers.proxy if name == "proxy" else servers.bare
            server = start(folder / name, registry.url, options=options)
            started[name] = running.enter_context(server)
            others[name] = f"http://127.0.0.1:{port}"
        for what, flood in (FLOODS | FROM_A_REGISTRY).items():
            ways = {}
            for name, server in started.items():
                target = others[name] if what in FROM_A_REGISTRY else server.url
                ways[name] = partial(waits, session.seconds, server, flood, target)
            yield from rows(what, alternate(session.pairs, ways))


def rows(what: str, got: dict[str, list[Waits]]) -> Iterator[Row]:
    """Yield the rows for one load."""
    for name, whose in (("proxy", ""), ("bare", "bare mitmdump -q, ")):
        alone, beside = [one.alone for one in got[name]], [one.beside for one in got[name]]
        values = [one / other for one, other in zip(beside, alone, strict=True)]
        target = ("<", float(LIMIT)) if name == "proxy" else ("", 0.0)
        raw = {"beside": beside, "alone": alone}
        title = f"{whose}median latency beside {what}"
        yield Row(title, "the same client alone", "x", values, *target, raw=raw)


def waits(seconds: float, server: lab.Server, flood: floods.Flood, target: str) -> Waits:
    """Measure alone, then beside a load; wait until the server has finished the load."""
    alone = latency(server.url, seconds / 2)
    with floods.running(flood, target):
        time.sleep(0.3)
        beside = latency(server.url, seconds)
    end = time.monotonic() + CALM
    before = core_seconds(server)
    while time.monotonic() < end:
        time.sleep(0.2)
        now = core_seconds(server)
        if now - before < 0.05:
            return Waits(alone, beside)
        before = now
    raise RuntimeError(f"{server.command[0]} is still busy after {flood.__name__}")


def latency(url: str, seconds: float) -> float:
    """Return the median milliseconds of small requests on a kept connection, one at a time.

    A request that begins in time counts until its end. Without an answer, it counts as `PATIENCE`.
    """
    got: list[float] = []
    end = time.perf_counter() + seconds
    with contextlib.closing(_connect(url)) as connection:
        while not got or time.perf_counter() < end:
            start = time.perf_counter()
            try:
                connection.request("GET", servers.API)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200, answer.status
            except TimeoutError:
                connection.close()
            got.append((time.perf_counter() - start) * 1e3)
    return statistics.median(got)


def _connect(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
