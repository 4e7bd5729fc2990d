"""How long a client may take no bytes of its answer.

Bytes that wait for a client are held in memory, and its request counts against `limits.flows` until
the last byte is written. Time counts only while bytes wait for the client; pauses of the registry
do not count. A slow client that keeps reading is never cut.

mitmproxy forgets a client when its connection is to be closed; bytes that still wait then are
watched here too.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections.abc import Callable

from mitmproxy.connection import Client

from ..engine import connections, plug
from ..engine.front import STOPPED_READING, UntakenAnswers
from ..engine.to_engine import ToEngine
from . import answering
from .connected import Connected
from .looks import Looks

logger = logging.getLogger(__name__)

_ACKNOWLEDGED = struct.Struct("=Q")
_AT = 120
"""Offset of tcpi_bytes_acked in Linux's `struct tcp_info` (include/uapi/linux/tcp.h)."""


class Progress:
    """Measures for how long a client has taken none of the waiting bytes."""

    __slots__ = ("_since", "_taken")

    def __init__(self) -> None:
        self._taken: int | None = None
        self._since = 0.0

    def stuck(self, now: float, taken: int) -> float:
        """Record the present state; return the seconds without progress.

        Args:
            now: seconds of a monotonic clock.
            taken: a number that changes whenever the client takes bytes.
        """
        if taken != self._taken:
            self._since, self._taken = now, taken
        return now - self._since


class SendTimes:
    """Ends connections and HTTP/2 streams whose clients have stopped reading.

    Args:
        connected: the connections of all clients.
    """

    def __init__(self, connected: Connected) -> None:
        self._connected = connected
        self._progress: dict[str, Progress] = {}
        """Of the clients for which bytes waited at the last check, by client id."""
        self._windows: dict[str, tuple[Client, Callable[[], float | None]]] = {}
        """HTTP/2 clients whose windows have no room for the bytes that wait, by client id."""
        self._looks = Looks(self._look)
        self._to_engine = ToEngine()

    def watch(self, limit: Callable[[], float]) -> None:
        """Watch all clients from now on; `limit` returns the seconds in force."""
        self._looks.go_on(limit)

    def await_window(self, client: Client, untaken: Callable[[], float | None]) -> None:
        """Watch an HTTP/2 client whose window has no room for a part of an answer.

        Args:
            client: the client.
            untaken: returns for how many seconds it has taken nothing of such an answer; None once
                nothing waits.
        """
        self._windows[client.id] = client, untaken

    def gone(self, key: str) -> None:
        """Drop the window of a client that has gone, by its id."""
        self._windows.pop(key, None)

    def _look(self, limit: float) -> bool:
        now = time.monotonic()
        before, self._progress = self._progress, {}
        for one in self._connected.waiting():
            if one.transport is None or not plug.serves(one.client):
                continue
            progress = before.get(one.client.id) or Progress()
            self._progress[one.client.id] = progress
            if progress.stuck(now, _taken(one.transport)) >= limit:
                _reset(one.client, one.transport)
        for key, (client, untaken) in [*self._windows.items()]:
            if (seconds := untaken()) is None:
                del self._windows[key]
            elif seconds >= limit:
                self._to_engine.tell_soon(client, UntakenAnswers(limit))
        return self._connected.count() > 0


def _reset(client: Client, transport: asyncio.WriteTransport) -> None:
    # After a normal close the client could take a part for the whole answer.
    for flow in (flows := connections.flows(client)):
        answering.log_cut(flow, STOPPED_READING)
    if not flows:
        logger.warning("reset a connection: %s", STOPPED_READING)
    connections.reset(transport)
    connections.close(client)


def _taken(transport: asyncio.WriteTransport) -> int:
    """Return a number that changes whenever a client has taken bytes.

    The kernel asks for more only when a third of its own buffer of some megabytes is free. So a
    slow client's progress shows only in the bytes it has acknowledged, which only Linux reports.
    """
    connection = transport.get_extra_info("socket")
    if hasattr(socket, "TCP_INFO") and connection is not None:
        try:
            told = connection.getsockopt(
                socket.IPPROTO_TCP, socket.TCP_INFO, _AT + _ACKNOWLEDGED.size
            )
            return int(_ACKNOWLEDGED.unpack_from(told, _AT)[0])
        except (OSError, struct.error):
            pass
    return transport.get_write_buffer_size()
