"""Send events from the addon to the engine of a client."""

from __future__ import annotations

import asyncio

from mitmproxy.connection import Client
from mitmproxy.proxy.events import Event

from . import connections


class ToEngine:
    """Sends events to engines."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def tell_soon(self, client: Client, event: Event) -> None:
        """Send an event from the event loop: the engine may be handling this client right now."""
        asyncio.get_running_loop().call_soon(self._tell, client, event)

    def _tell(self, client: Client, event: Event) -> None:
        if (record := connections.handler(client)) is not None:
            task = asyncio.create_task(record.server_event(event))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
