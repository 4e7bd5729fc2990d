"""How much of request bodies an HTTP/2 client may send: as much as is taken of it.

A client sends no more than its windows allow (RFC 9113, section 5.2). The one of the connection is
opened again at once, so that one request never stops another; that of a stream when its bytes have
been handed on and the registry has room for more. So a registry that is slow, or not even
connected, costs one window of memory for each stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .exchange import Asked, Exchange
from .turns import WakeUp

PORTION = 16 * 1024
"""Bytes by which a window is opened; a quarter of one."""
SHORT, LONG = 0.005, 0.08
"""Seconds until it is looked whether there is room by now. The kernel's buffers last for longer."""


class Uploads:
    """The windows of one connection.

    Args:
        connection: hyper-h2's.
        has_room: tells whether a registry takes more of a request.
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
        """Bytes by which the window of the connection can be opened."""
        self._owed: dict[int, int] = {}
        """The same for streams."""
        self._stopped: dict[int, Exchange] = {}
        """Streams whose windows stay as they are."""
        self._pause = SHORT
        self._alarm = False

    def received(self, key: int, size: int, exchange: Exchange) -> None:
        """A part of a body has been given to an exchange.

        Args:
            key: of the stream.
            size: bytes as the windows count them.
            exchange: its exchange.
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
        """Tell whether a client has to wait until more is taken."""
        return key in self._stopped

    def forget(self, key: int) -> None:
        """Nothing more is awaited of a stream."""
        self._owed.pop(key, None)
        self._stopped.pop(key, None)

    def drop(self, key: int) -> None:
        """What still comes of a stream is dropped, however much it is."""
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
