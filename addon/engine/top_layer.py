"""A client's topmost layer: runs hooks and takes bytes directly, without a task for each.

mitmproxy starts a task for each hook, and wakes up a task for each portion of bytes. If nothing has
to wait, both are function calls here: `inline_hooks.Dispatcher` runs the hook, and the reader of
a connection calls `received` with the bytes (see `wide_reads`). All other events go through
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
from mitmproxy.proxy.server_hooks import ServerConnectErrorHook

from ..internals.inline_hooks import Dispatcher

LOOK_AFTER = 16 * 1024
"""Bytes written between two checks whether the peers have taken them."""


@dataclass
class _Rest(Event):
    """Commands that mitmproxy executes."""

    commands: Iterable[Command]


class TopLayer:
    """Takes the place of a client's topmost layer.

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
        """Bytes written since the last check of the buffers."""
        self._tasks: set[asyncio.Task[None]] | None = None

    def install(self) -> None:
        """Replace the client's layer, and the function that runs its connections' hooks."""
        self._handler.layer = self
        self._handler.handle_hook = self._run_hook

    async def _run_hook(self, hook: StartHook) -> None:
        """Run a hook of a connection; mitmproxy calls this in a task."""
        if isinstance(hook, ServerConnectErrorHook):
            # An attempt may fail at once, within `server_event`: after this its lock is free.
            await asyncio.sleep(0)
        with self._handler.timeout_watchdog.disarm():
            await self.dispatcher.run(hook)

    def hand_down_to(self, layer: Any) -> None:
        """Skip the layers above this one: from now on they would only pass events down to it."""
        self._layer = layer
        self.context.layers[:] = [layer]

    # Bytes.

    def received(self, connection: Connection, data: bytes) -> None:
        """Take bytes, and execute the resulting commands."""
        handler = self._handler
        handler.timeout_watchdog.register_activity()
        transports = handler.transports
        try:
            commands = iter(self._layer.handle_event(DataReceived(connection, data)))
            for command in commands:
                if type(command) is not SendData:
                    _finish(handler.server_event(_Rest(_again(command, commands))))
                    self._unlooked = LOOK_AFTER  # mitmproxy may have written, too.
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
            # The same message as in `server_event`.
            handler.log("mitmproxy has crashed!", logging.ERROR, exc_info=True)
        if self._unlooked >= LOOK_AFTER:
            self._unlooked = 0
            self._look_at_writers(connection)

    def _look_at_writers(self, connection: Connection) -> None:
        """Pause reading until written bytes are taken, and close broken connections.

        mitmproxy's `handle_connection` does so after each portion.
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
        """Pass an event on, and run its hooks; see mitmproxy's `Layer.handle_event`."""
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
            # The event loop closes the connection later. Go on after that, as with mitmproxy: now
            # the connection is still open, and a layer would write to it.
            self._keep(asyncio.create_task(self._go_on(events)))

    def _commands(self, event: Event) -> Iterable[Command]:
        return event.commands if isinstance(event, _Rest) else self._layer.handle_event(event)

    def _start(self, hook: StartHook) -> bool:
        """Run a hook; return whether it is complete, otherwise it continues in a task."""
        if (running := self.dispatcher.begun.pop(hook, None)) is None:
            running = self.dispatcher.run(hook)
            try:
                running.send(None)
            except StopIteration:
                return True
        self._keep(asyncio.create_task(self._complete(hook, asyncio.create_task(running))))
        return False

    def _keep(self, task: asyncio.Task[None]) -> None:
        """Keep a reference to a task, as the event loop keeps only a weak one."""
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


def _again(first: Command, rest: Iterator[Command]) -> Iterator[Command]:
    yield first
    yield from rest


def _is_stuck(writer: Any) -> bool:
    """Return whether `drain` would wait or raise."""
    transport = writer.transport
    most = transport.get_write_buffer_limits()[1]
    return bool(transport.is_closing() or transport.get_write_buffer_size() > most)


def _finish(running: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that does not wait: `server_event` is asynchronous only for its lock.

    The lock is free here, as each of its owners releases it without waiting.
    """
    try:
        running.send(None)
    except StopIteration:
        return
    running.close()
    raise RuntimeError("mitmproxy's server_event waits for something")
