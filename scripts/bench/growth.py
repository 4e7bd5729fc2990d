"""Measures how the cost of a request grows with rules, connections and the size of an upload."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial

from bench import servers
from bench.closed_loop import Load, load
from bench.results import Table, ratios
from bench.session import Session, alternate

RULES = (50, 200)
CONNECTIONS = (1, 4, 16, 64)
SIZES = {"0": 0, "1 KiB": 2**10, "16 KiB": 2**14, "256 KiB": 2**18, "1 MiB": 2**20}
QUICK_SIZES = {name: SIZES[name] for name in ("1 KiB", "1 MiB")}
UPLOADS = {"API": ("POST", servers.UPLOADS), "artifact": ("PUT", f"{servers.ARTIFACTS}x")}

Ways = Mapping[str, Callable[[], Load]]


def measure(session: Session) -> Iterator[Table]:
    """Yield tables of requests per second."""
    folder = session.folder / "growth"
    counts, sizes = (CONNECTIONS, SIZES) if not session.quick else (CONNECTIONS[::2], QUICK_SIZES)
    with ExitStack() as running:
        registry = running.enter_context(servers.small_registry(folder / "registry"))

        def start(more_rules: int) -> str:
            name = folder / f"proxy-{more_rules}"
            server = servers.proxy(name, registry.url, more_rules=more_rules)
            return running.enter_context(server).url

        proxy = start(0)
        bare = running.enter_context(servers.bare(folder / "bare", registry.url)).url
        rules = {"shipped": proxy} | {f"{more} more": start(more) for more in RULES}
        yield _by_rules(session, rules)
        pairs = {str(count): _pair(session, proxy, bare, servers.API, count) for count in counts}
        yield _table(session, "requests/s by connections", "connections", pairs)
        for kind, (method, target) in UPLOADS.items():
            pairs = {
                name: _pair(session, proxy, bare, target, 4, method=method, size=size)
                for name, size in sizes.items()
            }
            title = f"requests/s by size of an upload to an {kind} path, 4 connections"
            yield _table(session, title, "size", pairs)


def _pair(
    session: Session,
    proxy: str,
    bare: str,
    target: str,
    connections: int,
    *,
    method: str = "GET",
    size: int | None = None,
) -> Ways:
    return {
        name: partial(load, url + target, connections, session.seconds, method=method, size=size)
        for name, url in (("proxy", proxy), ("bare", bare))
    }


def _by_rules(session: Session, urls: dict[str, str]) -> Table:
    ways = {
        name: partial(load, url + servers.API, 4, session.seconds) for name, url in urls.items()
    }
    got = alternate(session.rounds, ways)
    rates = {name: [one.rate for one in loads] for name, loads in got.items()}
    rows = [
        [name, _middle(values), f"{statistics.median(ratios(values, rates['shipped'])):.2f}x"]
        for name, values in rates.items()
    ]
    title = "requests/s by number of rules, 4 connections"
    return Table(title, ["rules", "the proxy", "compared with shipped"], rows, rates)


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
