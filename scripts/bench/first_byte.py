"""How much later a download begins through the proxy."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from functools import partial

from bench import servers
from bench.results import Row
from bench.session import Session, alternate
from bench.transfers import ARTIFACT, connect, store

SIZE = 16 * 2**20
"""Large enough that who waits for the end before the first byte would be found out."""


def measure(session: Session) -> Iterator[Row]:
    """The difference to a direct download, on new connections and on kept ones."""
    folder = session.folder / "first-byte"
    with store(folder, SIZE) as direct, servers.proxy(folder / "proxy", direct.url) as proxy:
        # nginx has the file where our rules lead to; asked directly, it is there by this name.
        targets = {"proxy": (proxy.url, ARTIFACT), "direct": (direct.url, f"/ajax-{ARTIFACT[1:]}")}
        new = {name: partial(_new, *target) for name, target in targets.items()}
        opened = {name: connect(url) for name, (url, _) in targets.items()}
        kept = {
            name: partial(first_byte, opened[name], target) for name, (_, target) in targets.items()
        }
        rounds = 30 if session.quick else 150
        for name, ways in (("new connection", new), ("kept connection", kept)):
            for warm_up in ways.values():
                warm_up()
            got = alternate(rounds, ways, quiet=True)
            values = [a - b for a, b in zip(got["proxy"], got["direct"], strict=True)]
            name = f"time to first byte of a download, {name}"
            yield Row(name, "direct, difference", "ms", values, "<=", 2, raw=got)
        for connection in opened.values():
            connection.close()


def _new(url: str, target: str) -> float:
    start = time.perf_counter()
    with connect(url) as connection:
        connected = (time.perf_counter() - start) * 1e3
        return connected + first_byte(connection, target)


def first_byte(connection: socket.socket, target: str) -> float:
    """Milliseconds until the first byte of a body; the rest is read without being timed."""
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
