"""Flow control for the request bodies of an HTTP/2 client.

A client sends no more than its windows allow (RFC 9113, section 5.2). The connection's window is
reopened at once, so that one request never blocks another; a stream's window is reopened when its
bytes have been forwarded and the registry has room for more. So a registry that is slow, or not
even connected, costs at most one window of memory per stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .exchange import Asked, Exchange
from .turns import WakeUp

PORTION = 16 * 1024
"""Reopen a window after so many bytes, a quarter of it."""
SHORT, LONG = 0.005, 0.08
"""Seconds between two checks for room. The kernel's buffers last longer than that."""


class Uploads:
    """The windows of one connection.

    Args:
        connection: hyper-h2's connection.
        has_room: returns whether a registry can take more of a request.
        wake_up: calls a function after some seconds.
        flush: sends what hyper-h2 has written.
    """

    def __init__(
        self,
        connection: Any,
        has_room: Callable[[Exchange], bool],
        wake_up: WakeUp,
        flush: Callable[[], None],
    ) -> None:
        self._h2 = connection
        self._has_room = has_room
        self._wake_up = wake_up
        self._flush = flush
        self._taken = 0
        """Bytes by which the connection's window can be reopened."""
        self._owed: dict[int, int] = {}
        """The same for each stream."""
        self._stopped: dict[int, Exchange] = {}
        """Streams whose windows are not reopened yet."""
        self._pause = SHORT
        self._alarm = False

    def received(self, key: int, size: int, exchange: Exchange) -> None:
        """Count a part of a body that was given to an exchange.

        Args:
            key: the stream's id.
            size: bytes as the windows count them.
            exchange: the stream's exchange.
        """
        self._taken += size
        if self._taken >= PORTION:
            self._h2.increment_flow_control_window(self._taken)
            self._taken = 0
        self._owed[key] = owed = self._owed.get(key, 0) + size
        if owed >= PORTION:
            self._stopped[key] = exchange
            self._go_on(key)
            self._look_later()

    def is_stopped(self, key: int) -> bool:
        """Return whether a stream's window is kept closed until the registry has room."""
        return key in self._stopped

    def forget(self, key: int) -> None:
        """Drop the state of a stream of which no more bytes are awaited."""
        self._owed.pop(key, None)
        self._stopped.pop(key, None)

    def drop(self, key: int) -> None:
        """Reopen the window of a stream whose further bytes are dropped, however many."""
        owed = self._owed.get(key, 0)
        self.forget(key)
        if owed:
            self._h2.increment_flow_control_window(owed, key)

    def _go_on(self, key: int) -> bool:
        exchange = self._stopped[key]
        if exchange.waits or (exchange.asked is Asked.STREAMED and not self._has_room(exchange)):
            return False
        del self._stopped[key]
        self._h2.increment_flow_control_window(self._owed.pop(key), key)
        return True

    def _look_later(self) -> None:
        if self._stopped and not self._alarm:
            self._alarm = True
            self._wake_up(self._pause, self._look)

    def _look(self) -> None:
        self._alarm = False
        moved = [self._go_on(key) for key in [*self._stopped]]
        self._pause = SHORT if any(moved) else min(2 * self._pause, LONG)
        self._flush()
        self._look_later()
