"""How long the proxy waits for the next bytes of a request's body.

All connections that wait for a body are checked together, a few times per limit, so a request
whose body arrives at once (nearly all do) costs nothing. Time in which the proxy does not read,
because the registry does not take the bytes read before, does not count.

A request counts against `limits.flows` while its body arrives. When that limit is reached, requests
whose bodies have been silent for a few seconds are ended, so that they lock out no other client.
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
    """Ends requests whose bodies have stopped arriving."""

    def __init__(self) -> None:
        self._awaited: dict[str, tuple[Client, Front]] = {}
        """By client id."""
        self._looks = Looks(self._end_silent)
        self._to_engine = ToEngine()
        self._hurried = 0.0

    def await_body(self, client: Client, front: Front, limit: Callable[[], float]) -> None:
        """Watch a body that has begun and is not complete.

        Args:
            client: the sender.
            front: the client's side of the engine.
            limit: returns the seconds in force.
        """
        if client.id not in self._awaited:
            self._awaited[client.id] = client, front
            self._looks.go_on(limit)

    def forget(self, key: str) -> None:
        """Stop watching a client that has gone, by its id."""
        self._awaited.pop(key, None)

    def hurry(self, limit: float) -> None:
        """Make room for more requests: end those whose bodies have been silent for a while."""
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
    """Return for how many seconds the proxy has waited for bytes of a client; 0 if it does not."""
    found = connections.io(client, client)
    reader = found.reader if found else None
    return reader.waited() if isinstance(reader, WideReader) else 0.0
