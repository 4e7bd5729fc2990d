"""Measures how much later a download begins through the proxy."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from functools import partial

from bench import servers
from bench.results import Row
from bench.session import Session, alternate
from bench.transfers import ARTIFACT, connect, serving, store

SIZE = 8 * 2**20
"""Large enough to detect a proxy that reads to the end before it sends the first byte."""

BEGIN, PAUSE = 64 * 1024, 0.02
"""Bytes of a body that a remote registry sends at once, and seconds until the next ones."""


def measure(session: Session) -> Iterator[Row]:
    """Yield the difference to a direct download, on new connections and on kept ones.

    One registry sends the beginning of the artifact and pauses, like a network. The other, nginx on
    this machine, sends gigabytes per second: then three processes compete for the cores, and the
    client has to wait for a core when its first byte arrives.
    """
    with serving(_answer) as url:
        yield from _differences(session, url, "", 1.5)
    with store(session.folder / "store", SIZE) as nginx:
        yield from _differences(session, nginx.url, ", nothing between nginx and the proxy", None)


def _differences(session: Session, direct: str, how: str, limit: float | None) -> Iterator[Row]:
    with servers.proxy(session.folder / f"proxy{how[:1]}", direct) as proxy:
        # The registry has the file at the rewritten path; a direct request needs that path.
        targets = {"proxy": (proxy.url, ARTIFACT), "direct": (direct, f"/ajax-{ARTIFACT[1:]}")}
        new = {name: partial(_new, *target) for name, target in targets.items()}
        opened = {name: connect(url) for name, (url, _) in targets.items()}
        kept = {
            name: partial(first_byte, opened[name], target) for name, (_, target) in targets.items()
        }
        rounds = 30 if session.quick else 100
        for name, ways in (("new connection", new), ("kept connection", kept)):
            for warm_up in ways.values():
                warm_up()
            got = alternate(rounds, ways, quiet=True)
            values = [a - b for a, b in zip(got["proxy"], got["direct"], strict=True)]
            name = f"time to first byte of a download, {name}{how}"
            sense = "<=" if limit else ""
            yield Row(name, "direct, difference", "ms", values, sense, limit or 0, raw=got)
        for connection in opened.values():
            connection.close()


def _answer(connection: socket.socket) -> None:
    """Send the artifact for each request on a connection, with a pause after its beginning."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
    )
    begin, rest = head % SIZE + bytes(BEGIN), bytes(SIZE - BEGIN)
    received = b""
    with connection:
        while data := connection.recv(65536):
            received += data
            if received.endswith(b"\r\n\r\n"):
                received = b""
                connection.sendall(begin)
                time.sleep(PAUSE)
                connection.sendall(rest)


def _new(url: str, target: str) -> float:
    start = time.perf_counter()
    with connect(url) as connection:
        connected = (time.perf_counter() - start) * 1e3
        return connected + first_byte(connection, target)


def first_byte(connection: socket.socket, target: str) -> float:
    """Return the milliseconds until the first byte of a body; reading the rest is not timed."""
    start = time.perf_counter()
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = b""
    while not (parts := head.partition(b"\r\n\r\n"))[2]:
        data = connection.recv(65536)
        assert data, head
        head += data
    milliseconds = (time.perf_counter() - start) * 1e3
    assert head.startswith(b"HTTP/1.1 200"), parts[0]
    left = SIZE - len(parts[2])
    while left and (data := connection.recv(2**20)):
        left -= len(data)
    assert not left, left
    return milliseconds
