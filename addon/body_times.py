"""How long a client may let the proxy wait for the next bytes of a request's body.

All connections on which a body is awaited are looked at together, a few times in that time: a
request whose body is there at once, as nearly all are, costs nothing. Time in which nothing is
read, because the registry does not take what was read before, is not the client's.

A request counts against `limits.flows` while its body comes. So that nobody is locked out by bodies
that do not, those that have been silent for a few seconds give way when that limit is met.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from mitmproxy.connection import Client

from . import connections
from .engine.front import Front, SilentBodies
from .wide_reads import WideReader

LOOKS = 4
"""How often a connection is looked at in the time that it has."""
HURRY = 5.0
"""Seconds of silence after which a body gives way to other requests."""


class BodyTimes:
    """Ends requests whose bodies do not go on."""

    def __init__(self) -> None:
        self._awaited: dict[str, tuple[Client, Front]] = {}
        """By the ids of clients."""
        self._alarm: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._hurried = 0.0

    def await_body(self, client: Client, front: Front, limit: Callable[[], float]) -> None:
        """A body has begun and is not complete.

        Args:
            client: that sends it.
            front: its side of the engine.
            limit: tells the seconds that are in force.
        """
        if client.id not in self._awaited:
            self._awaited[client.id] = client, front
            if self._alarm is None:
                self._set_alarm(limit)

    def forget(self, key: str) -> None:
        """A client has gone; takes its id."""
        self._awaited.pop(key, None)

    def hurry(self, limit: float) -> None:
        """There is no room for more requests: end those that would be ended soon."""
        if self._awaited and (now := time.monotonic()) - self._hurried > 1:
            self._hurried = now
            self._end_silent(min(limit, HURRY))

    def _set_alarm(self, limit: Callable[[], float]) -> None:
        loop = asyncio.get_running_loop()
        self._alarm = loop.call_later(limit() / LOOKS, self._look, limit)

    def _look(self, limit: Callable[[], float]) -> None:
        self._alarm = None
        try:
            self._end_silent(limit())
        finally:
            if self._awaited:
                self._set_alarm(limit)

    def _end_silent(self, seconds: float) -> None:
        for key, (client, front) in [*self._awaited.items()]:
            silent = front.silence(waited(client))
            if silent is None:
                del self._awaited[key]
            elif silent >= seconds:
                # Not here and now: the engine may be in the middle of something for this client.
                asyncio.get_running_loop().call_soon(self._end, client, seconds)

    def _end(self, client: Client, seconds: float) -> None:
        if (record := connections.handler(client)) is not None:
            task = asyncio.create_task(record.server_event(SilentBodies(seconds)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


def waited(client: Client) -> float:
    """For how many seconds a client has had its turn to send; 0 if it has not."""
    found = connections.io(client, client)
    reader = found.reader if found else None
    return reader.waited() if isinstance(reader, WideReader) else 0.0
