"""Requests at a fixed rate, even if the server falls behind.

A schedule sets when each request is due, and its latency counts from then, not from when it was
sent. So if a server stops for a second, the latency of each request that was due in that second
shows it, not only that of the one request in flight (this avoids coordinated omission). Connections
are opened in advance and kept. There are so many that they are only all busy if the server falls
behind, and then a request that waits for one is late like the others.
"""

from __future__ import annotations

import math
import re
import selectors
import socket
import time
from collections import deque
from collections.abc import Sequence

from bench.transfers import connect

CONNECTIONS = 64
PATIENCE = 10
"""Seconds after the last request was due until all answers must have arrived."""


class OverloadError(RuntimeError):
    """The server falls so far behind that there is no meaningful latency."""


def latencies(
    url: str, target: str, rate: float, seconds: float, *, warm_up: float = 0
) -> list[float]:
    """Send GET requests at a fixed rate; return the milliseconds of each.

    Args:
        url: of the server.
        target: the request target.
        rate: requests per second.
        seconds: duration.
        warm_up: seconds at the beginning that do not count.

    Raises:
        OverloadError: answers were missing long after the last request was due.
        ConnectionError: a connection was closed before its answer.
    """
    loop = _Loop(url, target)
    try:
        loop.run(rate, seconds)
    finally:
        loop.close()
    return [1e3 * latency for due, latency in loop.done if due >= warm_up]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile (nearest rank)."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


class _Loop:
    def __init__(self, url: str, target: str) -> None:
        self.request = f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        # `select` has finer time limits than epoll.
        self.selector = selectors.SelectSelector()
        self.idle: list[socket.socket] = []
        self.due: dict[socket.socket, float] = {}
        self.received: dict[socket.socket, bytes] = {}
        self.waiting: deque[float] = deque()
        self.done: list[tuple[float, float]] = []
        for _ in range(CONNECTIONS):
            connection = connect(url)
            self.selector.register(connection, selectors.EVENT_READ)
            self.idle.append(connection)

    def run(self, rate: float, seconds: float) -> None:
        """Send all requests and wait for all answers."""
        count, scheduled = round(rate * seconds), 0
        begin = time.perf_counter()
        while len(self.done) < count:
            now = time.perf_counter() - begin
            if now > seconds + PATIENCE:
                raise OverloadError(f"{count - len(self.done)} requests have no answer")
            while scheduled < count and scheduled / rate <= now:
                self.waiting.append(scheduled / rate)
                scheduled += 1
            while self.waiting and self.idle:
                self.send(self.waiting.popleft())
            until = scheduled / rate if scheduled < count else seconds + PATIENCE
            pause = until - (time.perf_counter() - begin)
            for key, _ in self.selector.select(max(0, pause)):
                assert isinstance(key.fileobj, socket.socket)
                self.receive(key.fileobj, begin)

    def send(self, due: float) -> None:
        """Use the connection that was used last, as other pools do."""
        connection = self.idle.pop()
        connection.sendall(self.request)
        self.due[connection] = due
        self.received[connection] = b""

    def receive(self, connection: socket.socket, begin: float) -> None:
        """Read the available part of an answer."""
        data = connection.recv(65536)
        if not data:
            raise ConnectionError(f"closed before an answer: {self.received.get(connection)!r}")
        self.received[connection] += data
        head, end, body = self.received[connection].partition(b"\r\n\r\n")
        if not end:
            return
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if not re.match(rb"HTTP/1.1 2\d\d", head) or length is None:
            raise ConnectionError(f"not the expected answer: {data!r}")
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
