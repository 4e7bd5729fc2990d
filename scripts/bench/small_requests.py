"""Measures small API requests through the proxy, a bare mitmdump, nginx, and FastAPI with httpx."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import lab
from bench import servers
from bench.closed_loop import Load, load
from bench.results import Row, ratios
from bench.session import Session, alternate

NGINX = "nginx with the same rewrite"
BARE = "bare mitmdump -q"
HTTPX = "FastAPI + httpx"


def measure(session: Session) -> Iterator[Row]:
    """Yield requests per second and latency."""
    folder = session.folder / "requests"
    log = folder / "access.log"
    with ExitStack() as running:
        registry = running.enter_context(servers.small_registry(folder / "registry"))
        starts: dict[str, Callable[[Path, str], lab.Server]]
        starts = {"proxy": servers.proxy, "bare": servers.bare, "nginx": servers.nginx}
        starts["httpx"] = servers.httpx_proxy
        options = ("--set", f"mlflow_access_log={log}")
        starts["logging"] = partial(servers.proxy, options=options)
        port = lab.free_port()
        options = ("--set", f"mlflow_metrics={port}")
        starts["measuring"] = partial(servers.proxy, options=options)
        urls = {}
        for name, start in starts.items():
            urls[name] = running.enter_context(start(folder / name, registry.url)).url
            load(urls[name] + servers.API, 1, 2)  # Warm up.
        for connections in (1, 16):
            ways: dict[str, Callable[[], Load]] = {
                name: partial(load, url + servers.API, connections, _seconds(session, name))
                for name, url in urls.items()
            }
            got = alternate(session.pairs, ways)
            assert log.stat().st_size, "nothing was logged"
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
                assert b'family="tracking"' in page.read(), "nothing was measured"
            yield from rows(session, connections, got)


def rows(session: Session, connections: int, got: dict[str, list[Load]]) -> Iterator[Row]:
    """Yield the rows for a number of connections."""
    what = f"small requests, {connections} connection{'s' * (connections > 1)}"
    rates = {name: [load.rate for load in loads] for name, loads in got.items()}
    latencies = {name: [load.latency for load in loads] for name, loads in got.items()}

    def faster(name: str, way: str, other: str, against: str, limit: float) -> Row:
        values = ratios(rates[way], rates[other])
        raw = {way: rates[way], other: rates[other]}
        return Row(f"{name}: requests/s", against, "x", values, ">=", limit, raw=raw)

    yield faster(what, "proxy", "bare", BARE, 4 if connections == 1 else 6)
    yield faster(what, "proxy", "nginx", NGINX, 0.15)
    values = ratios(latencies["proxy"], latencies["bare"])
    yield Row(f"{what}: median latency", BARE, "x", values, "<=", 1, raw=latencies)
    yield faster(f"{what}, access log on", "logging", "proxy", "access log off", 0.93)
    yield faster(f"{what}, metrics on", "measuring", "proxy", "metrics off", 0.93)
    yield faster(what, "proxy", "httpx", HTTPX, 20)


def _seconds(session: Session, name: str) -> float:
    # Requests in flight at the end do not count, so a slow proxy needs a longer run.
    return session.seconds * (3 if name == "httpx" else 1)
