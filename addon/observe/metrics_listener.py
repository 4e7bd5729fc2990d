"""The listener for Prometheus: only /metrics, on a separate port.

It runs on the proxy's event loop, so that a page shows one moment. The number and the duration of
connections are limited.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable

HEAD_LIMIT = 16 * 1024
"""Bytes of a request, at most."""
SECONDS = 10.0
"""Seconds that a connection may last, from its beginning until its answer is read."""
MOST = 16
"""Connections at the same time; for one more, the oldest is closed."""

_HEAD = (
    "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n"
    "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
)


def parse_address(text: str) -> tuple[str, int]:
    """Read PORT or HOST:PORT; without a host, 127.0.0.1.

    Args:
        text: "9090", "0.0.0.0:9090", "[::1]:9090".

    Raises:
        ValueError: it is neither.
    """
    host, colon, port = text.rpartition(":")
    if port.isascii() and port.isdigit() and 0 < int(port) < 65536:
        if not colon:
            return "127.0.0.1", int(port)
        if host.startswith("[") and host.endswith("]"):
            return str(ipaddress.IPv6Address(host[1:-1])), int(port)
        if host and ":" not in host:
            return host, int(port)
    raise ValueError("expected PORT or HOST:PORT")


def answer(head: bytes, page: Callable[[], bytes]) -> bytes:
    """Return the whole answer to a request.

    Args:
        head: request line and headers.
        page: returns the page /metrics.
    """
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if path != b"/metrics" or method not in (b"GET", b"HEAD"):
        status, kind, body = "404 Not Found", "text/plain", b"Only /metrics is served here.\n"
    else:
        status, kind, body = "200 OK", "text/plain; version=0.0.4; charset=utf-8", page()
    begin = _HEAD.format(status, kind, len(body)).encode("ascii")
    return begin if method == b"HEAD" else begin + body


class MetricsListener:
    """Answers scrapes.

    Args:
        address: as for `parse_address`.
        page: returns the page /metrics.

    Raises:
        OSError: it cannot listen there.
        ValueError: it is not an address.
    """

    def __init__(self, address: str, page: Callable[[], bytes]) -> None:
        host, port = parse_address(address)
        family, _, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self._socket = socket.create_server(target[:2], family=family)
        self._page = page
        self._open: dict[asyncio.StreamWriter, None] = {}
        """The oldest first."""
        self._task: asyncio.Task[asyncio.Server] | None = None

    def start(self) -> None:
        """Start to answer; clients that connected before have waited for this."""
        begin = asyncio.start_server(self._serve, sock=self._socket, limit=HEAD_LIMIT)
        self._task = asyncio.create_task(begin)

    def close(self) -> None:
        """Stop, and cut open connections."""
        if self._task is not None:
            self._task.cancel()
            if self._task.done() and not self._task.cancelled():
                self._task.result().close()
        self._socket.close()
        for writer in self._open:
            _cut(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The oldest one is idle or does not read: a scrape takes very little time.
        if len(self._open) >= MOST:
            oldest = next(iter(self._open))
            del self._open[oldest]
            _cut(oldest)
        self._open[writer] = None
        try:
            async with asyncio.timeout(SECONDS):
                writer.write(answer(await reader.readuntil(b"\r\n\r\n"), self._page))
                writer.close()
                await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # A client that leaves or takes too long can ask again.
        finally:
            _cut(writer)
            self._open.pop(writer, None)


def _cut(writer: asyncio.StreamWriter) -> None:
    """Close a connection at once.

    asyncio's `abort` raises if the last waiting bytes of a closed connection have been written.
    """
    transport = writer.transport
    if not transport.is_closing() or transport.get_write_buffer_size():
        transport.abort()
