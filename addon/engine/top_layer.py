"""A client's topmost layer: runs hooks where it meets them, and takes bytes where they arrive.

mitmproxy starts a task for each hook, and wakes up a task for each portion of bytes. Where nobody
has to wait, both are done by a call: the hook by `inline_hooks.Dispatcher`, the portion by
`received`, which the reader of a connection calls (see `wide_reads`). All else goes through
`ConnectionHandler.server_event` of mitmproxy/proxy/server.py as before.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mitmproxy.connection import Connection
from mitmproxy.proxy.commands import CloseConnection, Command, SendData, StartHook
from mitmproxy.proxy.events import DataReceived, Event, HookCompleted
from mitmproxy.proxy.layer import CommandGenerator

from ..internals.inline_hooks import Dispatcher

LOOK_AFTER = 16 * 1024
"""Bytes to write until it is worth looking whether they are taken."""


@dataclass
class _Rest(Event):
    """Commands that are left to mitmproxy."""

    commands: Iterable[Command]


class TopLayer:
    """In place of a client's topmost layer.

    Args:
        handler: mitmproxy's record of the client (see `connections`), before its first event.
        dispatcher: calls the handlers of hooks.
    """

    __slots__ = ("_handler", "_layer", "_tasks", "_unlooked", "context", "dispatcher")

    def __init__(self, handler: Any, dispatcher: Dispatcher) -> None:
        self.context = handler.layer.context
        self.dispatcher = dispatcher
        self._handler = handler
        self._layer = handler.layer
        self._unlooked = 0
        """Bytes that were written since the buffers were looked at."""
        self._tasks: set[asyncio.Task[None]] | None = None

    def install(self) -> None:
        """Take the place of the client's layer, and of what runs the hooks of its connections."""
        self._handler.layer = self
        self._handler.handle_hook = self._run_hook

    async def _run_hook(self, hook: StartHook) -> None:
        """Run a hook of a connection, which is in a task already."""
        with self._handler.timeout_watchdog.disarm():
            await self.dispatcher.run(hook)

    def hand_down_to(self, layer: Any) -> None:
        """Leave out the layers above one: all that they would do from now on is to pass it on."""
        self._layer = layer
        self.context.layers[:] = [layer]

    # Bytes.

    def received(self, connection: Connection, data: bytes) -> None:
        """Take bytes, and write what they lead to."""
        handler = self._handler
        handler.timeout_watchdog.register_activity()
        transports = handler.transports
        try:
            commands = iter(self._layer.handle_event(DataReceived(connection, data)))
            for command in commands:
                if type(command) is not SendData:
                    _finish(handler.server_event(_Rest(_again(command, commands))))
                    break
                io = transports.get(command.connection)
                if io is None:
                    continue
                if io.writer.is_closing():
                    self._unlooked = LOOK_AFTER
                else:
                    io.writer.write(command.data)
                    self._unlooked += len(command.data)
        except Exception:
            # In the words of `server_event`.
            handler.log("mitmproxy has crashed!", logging.ERROR, exc_info=True)
        if self._unlooked >= LOOK_AFTER:
            self._unlooked = 0
            self._look_at_writers(connection)

    def _look_at_writers(self, connection: Connection) -> None:
        """Read on when what was written has been taken, and close what is broken.

        `handle_connection` of mitmproxy does so after each portion.
        """
        transports = self._handler.transports
        if not any(io.writer is not None and _is_stuck(io.writer) for io in transports.values()):
            return
        io = transports.get(connection)
        if io is not None:
            io.reader.hold()
            self._keep(asyncio.create_task(self._read_on_later(io.reader)))

    async def _read_on_later(self, reader: Any) -> None:
        try:
            await self._handler.drain_writers()
        finally:
            reader.release()

    # Hooks.

    def handle_event(self, event: Event) -> CommandGenerator[None]:
        """Pass an event on, and answer hooks; see `Layer.handle_event` of mitmproxy."""
        events = deque([event])
        closing = False
        while events and not closing:
            for command in self._commands(events.popleft()):
                if isinstance(command, StartHook):
                    if self._start(command) and command.blocking:
                        events.append(HookCompleted(command))
                else:
                    closing = closing or isinstance(command, CloseConnection)
                    yield command
        if events:
            # A connection is closed when the event loop gets to it. What waits for a hook meets a
            # closed connection then, and would write to an open one now.
            self._keep(asyncio.create_task(self._go_on(events)))

    def _commands(self, event: Event) -> Iterable[Command]:
        return event.commands if isinstance(event, _Rest) else self._layer.handle_event(event)

    def _start(self, hook: StartHook) -> bool:
        """Run a hook; tell whether it is complete, or goes on in a task."""
        if (running := self.dispatcher.begun.pop(hook, None)) is None:
            running = self.dispatcher.run(hook)
            try:
                running.send(None)
            except StopIteration:
                return True
        self._keep(asyncio.create_task(self._complete(hook, asyncio.create_task(running))))
        return False

    def _keep(self, task: asyncio.Task[None]) -> None:
        """Hold on to a task, which the event loop does not."""
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _go_on(self, events: Iterable[Event]) -> None:
        for event in events:
            await self._handler.server_event(event)

    async def _complete(self, hook: StartHook, rest: asyncio.Task[None]) -> None:
        with self._handler.timeout_watchdog.disarm():
            await rest
        if hook.blocking:
            await self._handler.server_event(HookCompleted(hook))


def of(handler: Any) -> TopLayer | None:
    """The topmost layer of a client; None if mitmproxy's own is there."""
    top = getattr(handler, "layer", None)
    return top if isinstance(top, TopLayer) else None


def _again(first: Command, rest: Iterator[Command]) -> Iterator[Command]:
    yield first
    yield from rest


def _is_stuck(writer: Any) -> bool:
    """Tell whether `drain` would wait, or raise."""
    transport = writer.transport
    most = transport.get_write_buffer_limits()[1]
    return bool(transport.is_closing() or transport.get_write_buffer_size() > most)


def _finish(running: Coroutine[Any, Any, None]) -> None:
    """Run what does not wait: `server_event` is asynchronous only for the sake of its lock.

    Nobody has that here, as each of its owners gives it back without waiting.
    """
    try:
        running.send(None)
    except StopIteration:
        return
    running.close()
    raise RuntimeError("mitmproxy's server_event waits for something")
