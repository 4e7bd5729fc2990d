"""The end of a registry's TLS layer: collects what comes out of it, for the engine to take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context


@dataclass
class Write(events.Event):
    """The engine wants to write through the layer."""

    data: bytes


class Tap(layer.Layer):
    """A child layer that decides nothing."""

    conn: Any

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._taken: list[events.Event] = []

    def taken(self) -> list[events.Event]:
        """What has come out since the last time."""
        taken, self._taken = self._taken, []
        return taken

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        raise NotImplementedError  # `handle_event` does not ask it.

    def handle_event(self, event: events.Event) -> Any:
        """Take an event; returns commands."""
        if isinstance(event, Write):
            return [commands.SendData(self.conn, event.data)]
        if isinstance(event, events.Start):
            command: Any = commands.OpenConnection(self.conn)
            command.blocking = self
            return [command]
        self._taken.append(event)
        return []
