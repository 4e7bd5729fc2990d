"""Check all entries a few times per time limit, in place of a timer for each.

A deadline that nearly always moves before it is due then costs nothing between checks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LOOKS = 4
"""How many checks are made per time limit."""


class Looks:
    """Calls a function repeatedly while there are entries to check.

    Args:
        look: takes the limit in seconds, and returns whether entries are left.
    """

    def __init__(self, look: Callable[[float], bool]) -> None:
        self._look = look
        self._alarm: asyncio.TimerHandle | None = None

    def go_on(self, limit: Callable[[], float]) -> None:
        """Start the checks, unless they run already.

        Args:
            limit: returns the seconds in force.
        """
        if self._alarm is None:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(limit() / LOOKS, self._ring, limit)

    def _ring(self, limit: Callable[[], float]) -> None:
        self._alarm = None
        more = True  # If the check fails.
        try:
            more = self._look(limit())
        finally:
            if more:
                self.go_on(limit)
