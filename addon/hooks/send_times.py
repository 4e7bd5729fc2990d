"""How long a client may take nothing of what is sent to it.

All that waits for it is held in memory, and its request counts against `limits.flows` until the
last byte is written. Time counts only while bytes wait for the client: pauses of the registry do
not. A client that is slow and goes on is never cut.

mitmproxy forgets a client when its connection is to be closed; what waits then is looked after too.
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
"""Where that stands in `struct tcp_info` of Linux (include/uapi/linux/tcp.h, tcpi_bytes_acked)."""


class Progress:
    """Tells for how long nothing has been taken of what waits."""

    __slots__ = ("_since", "_taken")

    def __init__(self) -> None:
        self._taken = 0
        self._since: float | None = None

    def stuck(self, now: float, waiting: int, taken: int) -> float:
        """Take note of how it is now.

        Args:
            now: seconds of a clock that does not go back.
            waiting: bytes.
            taken: a number that changes whenever some are taken.

        Returns:
            Seconds, 0 if nothing waits.
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
    """Ends connections, and streams of HTTP/2, on which nothing goes out."""

    def __init__(self) -> None:
        self._connections: dict[str, _Connection] = {}
        """By the ids of clients."""
        self._windows: dict[str, tuple[Client, Callable[[], float | None]]] = {}
        """The same for those by HTTP/2 who have no room for what waits."""
        self._looks = Looks(self._look)
        self._to_engine = ToEngine()

    def connected(self, client: Client, limit: Callable[[], float]) -> None:
        """A client has connected.

        Args:
            client: the client.
            limit: tells the seconds that are in force.
        """
        if (transport := connections.transport(client)) is not None:
            self._connections[client.id] = _Connection(client, transport)
            self._looks.go_on(limit)

    def await_window(self, client: Client, untaken: Callable[[], float | None]) -> None:
        """A client by HTTP/2 has no room for a part of an answer.

        Args:
            client: the client.
            untaken: tells for how many seconds it has taken nothing of such an answer; None if
                nothing waits any more.
        """
        self._windows[client.id] = client, untaken

    def gone(self, key: str) -> None:
        """A client has gone; takes its id."""
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
        # Only with its end lost it cannot be taken for a whole answer.
        for flow in (flows := connections.flows(one.client)):
            answering.log_cut(flow, STOPPED_READING)
        if not flows:
            logger.warning("reset a connection: %s", STOPPED_READING)
        connections.reset(one.transport)
        connections.close(one.client)


def _taken(transport: asyncio.WriteTransport, waiting: int) -> int:
    """A number that changes whenever a client has taken something.

    The kernel asks for more only when a third of its own buffer, some megabytes, is free: to see a
    slow client go on, one has to ask what it has acknowledged. Linux alone tells.
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
