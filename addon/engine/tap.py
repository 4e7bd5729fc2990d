"""The child of a registry's TLS layer: collects the layer's events for the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context


@dataclass
class Write(events.Event):
    """Write bytes through the TLS layer."""

    data: bytes


class Tap(layer.Layer):
    """A child layer that only collects events."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._taken: list[events.Event] = []

    def taken(self) -> list[events.Event]:
        """Return the events collected since the last call."""
        taken, self._taken = self._taken, []
        return taken

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        raise NotImplementedError  # `handle_event` does not call it.

    def handle_event(self, event: events.Event) -> Any:
        """Take an event, and return commands."""
        if isinstance(event, Write):
            return [commands.SendData(self.context.server, event.data)]
        if isinstance(event, events.Start):
            command: Any = commands.OpenConnection(self.context.server)
            command.blocking = self
            return [command]
        self._taken.append(event)
        return []
