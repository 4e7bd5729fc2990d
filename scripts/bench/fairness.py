"""Measures how much longer a client waits while another one keeps the proxy busy.

The proxy has one thread for all clients. So while it works for one connection, all others wait.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import lab
from bench import floods, servers
from bench.results import Row
from bench.session import Session, alternate
from bench.transfers import serving

Start = Callable[..., lab.Server]

LIMIT = 5
"""Allowed latency, as a multiple of the latency without other clients."""
PATIENCE = 20
"""Seconds until the client gives up a request."""

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
        numbers = itertools.count()
        for what, flood in (FLOODS | FROM_A_REGISTRY).items():

            def measured(start: Start, flood: floods.Flood = flood, what: str = what) -> Waits:
                # A new server: a bare mitmdump works for minutes on some floods that have ended.
                port = lab.free_port()
                here = folder / f"server{next(numbers)}"
                mode = f"reverse:{other}@127.0.0.1:{port}"
                options = ("--mode", mode, "--set", f"confdir={folder}")
                with start(here, registry.url, options=options) as server:
                    in_front = f"http://127.0.0.1:{port}"
                    target = in_front if what in FROM_A_REGISTRY else server.url
                    return waits(session.seconds, server.url, flood, target)

            ways = {
                "proxy": partial(measured, servers.proxy),
                "bare": partial(measured, servers.bare),
            }
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


def waits(seconds: float, url: str, flood: floods.Flood, target: str) -> Waits:
    """Measure alone, then beside a load."""
    latency(url, 0.5)  # Warm up.
    alone = latency(url, seconds / 2)
    with floods.running(flood, target):
        time.sleep(0.3)
        return Waits(alone, latency(url, seconds))


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
