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

from ..engine import connections
from ..engine.front import STOPPED_READING, UntakenAnswers
from ..engine.to_engine import ToEngine
from . import answering
from .looks import Looks

logger = logging.getLogger(__name__)

_ACKNOWLEDGED = struct.Struct("=Q")
_AT = 120
"""Offset of tcpi_bytes_acked in Linux's `struct tcp_info` (include/uapi/linux/tcp.h)."""


class Progress:
    """Measures for how long a client has taken none of the waiting bytes."""

    __slots__ = ("_since", "_taken")

    def __init__(self) -> None:
        self._taken = 0
        self._since: float | None = None

    def stuck(self, now: float, waiting: int, taken: int) -> float:
        """Record the present state.

        Args:
            now: seconds of a monotonic clock.
            waiting: bytes.
            taken: a number that changes whenever the client takes bytes.

        Returns:
            Seconds without progress, 0 if nothing waits.
        """
        if not waiting:
            self._since = None
            return 0.0
        if self._since is None or taken != self._taken:
            self._since, self._taken = now, taken
        return now - self._since


class _Connection:
    """A client's connection, until its last byte is written."""

    __slots__ = ("client", "progress", "transport")

    def __init__(self, client: Client, transport: asyncio.WriteTransport) -> None:
        self.client = client
        self.transport = transport
        self.progress = Progress()


class SendTimes:
    """Ends connections and HTTP/2 streams whose clients have stopped reading."""

    def __init__(self) -> None:
        self._connections: dict[str, _Connection] = {}
        """By client id."""
        self._windows: dict[str, tuple[Client, Callable[[], float | None]]] = {}
        """HTTP/2 clients whose windows have no room for the bytes that wait, by client id."""
        self._looks = Looks(self._look)
        self._to_engine = ToEngine()

    def connected(self, client: Client, limit: Callable[[], float]) -> None:
        """Watch a client that has connected.

        Args:
            client: the client.
            limit: returns the seconds in force.
        """
        if (transport := connections.transport(client)) is not None:
            self._connections[client.id] = _Connection(client, transport)
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
        """Drop a client that has gone, by its id, unless bytes still wait for it."""
        self._windows.pop(key, None)
        one = self._connections.get(key)
        if one is not None and not one.transport.get_write_buffer_size():
            del self._connections[key]

    def _look(self, limit: float) -> bool:
        now = time.monotonic()
        for key, one in [*self._connections.items()]:
            waiting = one.transport.get_write_buffer_size()
            taken = _taken(one.transport, waiting) if waiting else 0
            if one.progress.stuck(now, waiting, taken) >= limit:
                self._reset(one)
            if not waiting and connections.handler(one.client) is None:
                del self._connections[key]
        for key, (client, untaken) in [*self._windows.items()]:
            if (seconds := untaken()) is None:
                del self._windows[key]
            elif seconds >= limit:
                self._to_engine.tell_soon(client, UntakenAnswers(limit))
        return bool(self._connections)

    def _reset(self, one: _Connection) -> None:
        # After a normal close the client could take a part for the whole answer.
        for flow in (flows := connections.flows(one.client)):
            answering.log_cut(flow, STOPPED_READING)
        if not flows:
            logger.warning("reset a connection: %s", STOPPED_READING)
        connections.reset(one.transport)
        connections.close(one.client)


def _taken(transport: asyncio.WriteTransport, waiting: int) -> int:
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
    return waiting
