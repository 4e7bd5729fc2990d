"""Which client has been idle for longest, so that its connection can give way to another.

That is asked only when there are as many connections as there may be, so nothing is kept up to date
for each request: all are looked at once, and those that were idle give way one after the other.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

QUIET = 1.0
"""Seconds without any event after which a client is not just about to send its next request."""
PAUSE = 1.0
"""Seconds between two looks at all: thousands take the event loop for some milliseconds."""


class IdleClients:
    """Finds them in the order of their last activity.

    Args:
        everybody: those who are there.
        since: tells when an idle one was last active, in seconds since 1970; None if it is in the
            middle of something, or has gone.
        clock: seconds since 1970.
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
        """Take the one that has been idle for longest; None if there is none, as far as is known.

        Each is taken once, as long as it does nothing.
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
