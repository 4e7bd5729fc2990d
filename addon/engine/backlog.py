"""Limit the HTTP/1 body bytes that arrive while their request waits.

A request may wait for the connection to the registry, up to `upstream.connect_timeout`; a client
could send gigabytes in that time. So the proxy stops reading at a limit until the request goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exchange import Exchange

if TYPE_CHECKING:
    from .layer import Engine

MOST = 256 * 1024
"""Bytes that may wait."""
PAUSE = 0.01
"""Seconds between two checks whether the request goes on."""


class Backlog:
    """The backlog of one client's connection."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._size = 0
        self._stopped = False

    def add(self, exchange: Exchange, size: int) -> None:
        """Count more bytes that wait for an exchange; stop reading beyond the limit."""
        self._size += size
        if self._size > MOST and not self._stopped:
            self._stopped = True
            self._pace(False)
            self._look_later(exchange)

    def _look_later(self, exchange: Exchange) -> None:
        self._engine.wake_up(PAUSE, lambda: self._look(exchange))

    def _look(self, exchange: Exchange) -> None:
        if exchange.waits:
            self._look_later(exchange)
            return
        self._size = 0
        self._stopped = False
        self._pace(True)

    def _pace(self, wanted: bool) -> None:
        client = self._engine.context.client
        self._engine.addon.pace(client, client, wanted)
