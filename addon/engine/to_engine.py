"""What the addon tells the engine of a client, in an event of its own."""

from __future__ import annotations

import asyncio

from mitmproxy.connection import Client
from mitmproxy.proxy.events import Event

from . import connections


class ToEngine:
    """Passes events on."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def tell_soon(self, client: Client, event: Event) -> None:
        """Not here and now: the engine may be in the middle of something for this client."""
        asyncio.get_running_loop().call_soon(self._tell, client, event)

    def _tell(self, client: Client, event: Event) -> None:
        if (record := connections.handler(client)) is not None:
            task = asyncio.create_task(record.server_event(event))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
