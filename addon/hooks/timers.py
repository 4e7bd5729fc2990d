"""Deadlines by key, with one event loop timer for all.

Nearly every deadline is stopped or moved long before it is due. With one asyncio timer each, a
request would make and cancel several; here a deadline is only an entry in a dict.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable


class Timers:
    """Calls functions later, unless they are stopped."""

    def __init__(self) -> None:
        self._due: dict[str, tuple[float, Callable[[], None]]] = {}
        """Times of the monotonic clock, and the functions to call then."""
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf

    def start(self, key: str, seconds: float, call: Callable[[], None]) -> None:
        """Call a function after so many seconds, in place of any earlier one of this key."""
        when = time.monotonic() + seconds
        self._due[key] = (when, call)
        if when < self._alarm_at:
            self._set_alarm(when)

    def stop(self, key: str) -> None:
        """Cancel the call of a key, if there is one."""
        self._due.pop(key, None)

    def _set_alarm(self, when: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(when - time.monotonic(), self._ring)
        self._alarm_at = when

    def _ring(self) -> None:
        now = self._alarm_at
        self._alarm, self._alarm_at = None, math.inf
        try:
            for key in [key for key, (when, _) in self._due.items() if when <= now]:
                # An earlier call may have stopped or moved it.
                if key in self._due and self._due[key][0] <= now:
                    self._due.pop(key)[1]()
        finally:
            # If a call fails, the rest is due at once.
            if self._due:
                self._set_alarm(min(when for when, _ in self._due.values()))
