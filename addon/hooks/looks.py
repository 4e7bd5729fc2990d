"""Looks at all that is there a few times in a limit, in place of a timer for each.

A deadline that nearly always moves before it is due costs nothing then, until it is looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LOOKS = 4
"""How often in the time of the limit."""


class Looks:
    """Calls a function again and again while there is something to look at.

    Args:
        look: takes the limit in seconds, and tells whether there is more to look at later.
    """

    def __init__(self, look: Callable[[float], bool]) -> None:
        self._look = look
        self._alarm: asyncio.TimerHandle | None = None

    def go_on(self, limit: Callable[[], float]) -> None:
        """There is something to look at.

        Args:
            limit: tells the seconds that are in force.
        """
        if self._alarm is None:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(limit() / LOOKS, self._ring, limit)

    def _ring(self, limit: Callable[[], float]) -> None:
        self._alarm = None
        more = True  # Should it fail.
        try:
            more = self._look(limit())
        finally:
            if more:
                self.go_on(limit)
