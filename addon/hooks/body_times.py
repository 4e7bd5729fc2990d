"""How long a client may let the proxy wait for the next bytes of a request's body.

All connections on which a body is awaited are looked at together, a few times in that time: a
request whose body is there at once, as nearly all are, costs nothing. Time in which nothing is
read, because the registry does not take what was read before, is not the client's.

A request counts against `limits.flows` while its body comes. So that nobody is locked out by bodies
that do not, those that have been silent for a few seconds give way when that limit is met.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mitmproxy.connection import Client

from ..engine import connections
from ..engine.front import Front, SilentBodies
from ..engine.to_engine import ToEngine
from ..internals.wide_reads import WideReader
from .looks import Looks

HURRY = 5.0
"""Seconds of silence after which a body gives way to other requests."""


class BodyTimes:
    """Ends requests whose bodies do not go on."""

    def __init__(self) -> None:
        self._awaited: dict[str, tuple[Client, Front]] = {}
        """By the ids of clients."""
        self._looks = Looks(self._end_silent)
        self._to_engine = ToEngine()
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
            self._looks.go_on(limit)

    def forget(self, key: str) -> None:
        """A client has gone; takes its id."""
        self._awaited.pop(key, None)

    def hurry(self, limit: float) -> None:
        """There is no room for more requests: end those that would be ended soon."""
        if self._awaited and (now := time.monotonic()) - self._hurried > 1:
            self._hurried = now
            self._end_silent(min(limit, HURRY))

    def _end_silent(self, seconds: float) -> bool:
        for key, (client, front) in [*self._awaited.items()]:
            silent = front.silence(waited(client))
            if silent is None:
                del self._awaited[key]
            elif silent >= seconds:
                self._to_engine.tell_soon(client, SilentBodies(seconds))
        return bool(self._awaited)


def waited(client: Client) -> float:
    """For how many seconds a client has had its turn to send; 0 if it has not."""
    found = connections.io(client, client)
    reader = found.reader if found else None
    return reader.waited() if isinstance(reader, WideReader) else 0.0
