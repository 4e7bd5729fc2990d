"""Find the client that has been idle longest, so that its connection can give way to another.

That is needed only at the limit of connections, so no order is kept up to date per request: all
clients are checked once, and the idle ones give way one after the other.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

QUIET = 1.0
"""After so many seconds without any event, a client is not about to send its next request."""
PAUSE = 1.0
"""Seconds between two checks of all: thousands block the event loop for some milliseconds."""


class IdleClients:
    """Finds idle clients in the order of their last activity.

    Args:
        everybody: returns all connected clients.
        since: returns when an idle client was last active, in seconds since 1970; None if it is
            busy or has gone.
        clock: returns seconds since 1970.
    """

    def __init__(
        self,
        everybody: Callable[[], Iterable[Any]],
        since: Callable[[Any], float | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._everybody = everybody
        self._since = since
        self._clock = clock
        self._found: deque[tuple[float, Any]] = deque()
        self._looked = -math.inf

    def take(self) -> Any | None:
        """Return the client that has been idle longest; None if none is known.

        A client that stays idle is returned only once per check.
        """
        if (one := self._next()) is None and abs(self._clock() - self._looked) >= PAUSE:
            self._look()
            one = self._next()
        return one

    def _next(self) -> Any | None:
        while self._found:
            before, one = self._found.popleft()
            if self._since(one) == before:
                return one
        return None

    def _look(self) -> None:
        self._looked = now = self._clock()
        found = [(since, one) for one in self._everybody() if (since := self._since(one))]
        found.sort(key=lambda pair: pair[0])
        self._found.extend(pair for pair in found if pair[0] <= now - QUIET)
