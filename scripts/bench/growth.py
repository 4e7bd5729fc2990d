"""Measures how the cost of a request grows with connections and the size of an upload.

`own_share` says how it grows with rules: in instructions, because time shows no difference.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from bench import servers
from bench.closed_loop import Load, load
from bench.results import Table, ratios
from bench.session import Session, alternate

CONNECTIONS = (1, 4, 16, 64)
SIZES = {"0": 0, "1 KiB": 2**10, "16 KiB": 2**14, "256 KiB": 2**18, "1 MiB": 2**20}
QUICK_SIZES = {name: SIZES[name] for name in ("1 KiB", "1 MiB")}
UPLOADS = {"API": ("POST", servers.UPLOADS), "artifact": ("PUT", f"{servers.ARTIFACTS}x")}

Ways = Mapping[str, Callable[[], Load]]


def measure(session: Session) -> Iterator[Table]:
    """Yield tables of requests per second."""
    folder = session.folder / "growth"
    counts, sizes = (CONNECTIONS, SIZES) if not session.quick else (CONNECTIONS[::2], QUICK_SIZES)
    with (
        servers.small_registry(folder / "registry") as registry,
        servers.proxy(folder / "proxy", registry.url) as proxy,
        servers.bare(folder / "bare", registry.url) as bare,
    ):
        urls = {"proxy": proxy.url, "bare": bare.url}
        pairs = {str(count): _pair(session, urls, servers.API, count) for count in counts}
        yield _table(session, "requests/s by connections", "connections", pairs)
        for kind, (method, target) in UPLOADS.items():
            pairs = {
                name: _pair(session, urls, target, 4, method=method, size=size)
                for name, size in sizes.items()
            }
            title = f"requests/s by size of an upload to an {kind} path, 4 connections"
            yield _table(session, title, "size", pairs)


def _pair(
    session: Session,
    urls: Mapping[str, str],
    target: str,
    connections: int,
    *,
    method: str = "GET",
    size: int | None = None,
) -> Ways:
    return {
        name: partial(load, url + target, connections, session.seconds, method=method, size=size)
        for name, url in urls.items()
    }


def _table(session: Session, title: str, what: str, pairs: Mapping[str, Ways]) -> Table:
    rows: list[list[str]] = []
    raw: dict[str, list[float]] = {}
    for name, ways in pairs.items():
        got = alternate(session.rounds, ways)
        proxy, bare = ([one.rate for one in got[way]] for way in ("proxy", "bare"))
        ratio = f"{statistics.median(ratios(proxy, bare)):.2f}x"
        rows.append([name, _middle(proxy), _middle(bare), ratio])
        raw |= {f"{name}, proxy": proxy, f"{name}, bare": bare}
    return Table(title, [what, "the proxy", "bare mitmdump", "compared"], rows, raw)


def _middle(values: list[float]) -> str:
    return f"{statistics.median(values):.0f}"
