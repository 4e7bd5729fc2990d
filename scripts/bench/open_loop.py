"""Requests at a fixed rate, whatever the server makes of it.

A schedule says when each request is due, and its latency counts from then. None waits for the
answer to another: where all connections are busy, one more is opened. So a server that stands still
for a second shows in the latency of each request that was due within that second, and not of the
one alone that happened to be under way (what is called coordinated omission).
"""

from __future__ import annotations

import math
import re
import selectors
import socket
import time
from collections.abc import Sequence

MOST = 900
"""Open connections; `select` takes 1024, and its time limit is finer than that of epoll."""


class OverloadError(RuntimeError):
    """The server falls behind so far that no latency can be told."""


def latencies(
    url: str, target: str, rate: float, seconds: float, *, warm_up: float = 0
) -> list[float]:
    """Send GET requests at a fixed rate; returns the milliseconds of each.

    Args:
        url: of the server.
        target: what is asked for.
        rate: requests per second.
        seconds: for how long.
        warm_up: what is due before that many seconds does not count.

    Raises:
        OverloadError: too many requests were waiting.
        ConnectionError: a connection was closed before its answer.
    """
    loop = _Loop(url, target)
    try:
        loop.run(rate, seconds)
    finally:
        loop.close()
    return [1e3 * latency for due, latency in loop.done if due >= warm_up]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that is not below so many per cent of all (nearest rank)."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


class _Loop:
    def __init__(self, url: str, target: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self.address = (host, int(port))
        self.request = f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
        self.selector = selectors.SelectSelector()
        self.idle: list[socket.socket] = []
        self.due: dict[socket.socket, float] = {}
        self.received: dict[socket.socket, bytes] = {}
        self.done: list[tuple[float, float]] = []

    def run(self, rate: float, seconds: float) -> None:
        """Send all and wait for all answers."""
        count, sent = round(rate * seconds), 0
        begin = time.perf_counter()
        while len(self.done) < count:
            now = time.perf_counter() - begin
            while sent < count and sent / rate <= now:
                self.send(sent / rate)
                sent += 1
            pause = sent / rate - (time.perf_counter() - begin) if sent < count else 60
            ready = self.selector.select(max(0, pause))
            if not ready and sent == count:
                raise OverloadError(f"{count - len(self.done)} requests have no answer")
            for key, events in ready:
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                if events & selectors.EVENT_WRITE:
                    connection.sendall(self.request)
                    self.selector.modify(connection, selectors.EVENT_READ)
                else:
                    self.receive(connection, begin)

    def send(self, due: float) -> None:
        """Use an idle connection, else a new one."""
        if self.idle:
            connection = self.idle.pop()
            connection.sendall(self.request)
        else:
            if len(self.due) >= MOST:
                raise OverloadError(f"{MOST} requests are waiting")
            connection = socket.socket()
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.connect_ex(self.address)
            self.selector.register(connection, selectors.EVENT_WRITE)
        self.due[connection] = due
        self.received[connection] = b""

    def receive(self, connection: socket.socket, begin: float) -> None:
        """Take what has come of an answer."""
        data = connection.recv(65536)
        if not data:
            raise ConnectionError(f"closed before an answer: {self.received[connection]!r}")
        self.received[connection] += data
        head, end, body = self.received[connection].partition(b"\r\n\r\n")
        if not end:
            return
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if not re.match(rb"HTTP/1.1 2\d\d", head) or length is None:
            raise ConnectionError(f"not the expected answer: {head!r}")
        if len(body) == int(length[1]):
            due = self.due.pop(connection)
            self.done.append((due, time.perf_counter() - begin - due))
            self.idle.append(connection)

    def close(self) -> None:
        """Close all connections."""
        for key in list(self.selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self.selector.close()
