"""Measures the time from the start to the first answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial

import lab
from bench import servers
from bench.results import Row, ratios
from bench.session import Session, alternate
from bench.transfers import connect

POLL = 0.005
LIMIT = 60


def measure(session: Session) -> Iterator[Row]:
    """Yield the start times of the proxy and a bare mitmdump."""
    folder = session.folder / "start"
    with servers.small_registry(folder / "registry") as registry:
        ways = {
            name: partial(seconds, partial(start, folder / name, registry.url, wait=False))
            for name, start in (("proxy", servers.proxy), ("bare", servers.bare))
        }
        # The first start ever makes certificates.
        for warm_up in ways.values():
            warm_up()
        got = alternate(session.pairs, ways)
    values = ratios(got["proxy"], got["bare"])
    name = "start to first served request"
    yield Row(name, "bare mitmdump", "x", values, "<=", 1.15, raw=got)


def seconds(start: Callable[[], lab.Server]) -> float:
    """Start a server and ask until it answers 200; return the seconds.

    Raises:
        StackError: it does not.
    """
    begin = time.perf_counter()
    with start() as server:
        while time.perf_counter() < begin + LIMIT:
            if _serves(server.url):
                return time.perf_counter() - begin
            time.sleep(POLL)
        raise lab.StartError(f"no answer:\n{server.tail()}")


def _serves(url: str) -> bool:
    # Refused or cut: it does not serve yet.
    with contextlib.suppress(ConnectionError), connect(url) as connection:
        request = f"GET {servers.API} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        return connection.recv(65536).startswith(b"HTTP/1.1 200")
    return False
