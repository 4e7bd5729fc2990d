"""An event that repeats: only its start and its end are logged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

QUIET = 10.0
"""Seconds without the event after which it is over."""


class Spell:
    """Counts an event until it has stopped for a while.

    Args:
        over: called then, with the count.
        quiet: seconds without the event until then.
    """

    def __init__(self, over: Callable[[int], None], quiet: float = QUIET) -> None:
        self._over = over
        self._quiet = quiet
        self._times = 0
        self._last = 0.0

    def happens(self) -> bool:
        """Count the event; return whether it starts a spell. Needs a running event loop."""
        self._times += 1
        self._last = time.monotonic()
        if self._times > 1:
            return False
        self._look_in(self._quiet)
        return True

    def _look_in(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        left = self._last + self._quiet - time.monotonic()
        if left > 0:
            self._look_in(left)
            return
        times, self._times = self._times, 0
        self._over(times)
