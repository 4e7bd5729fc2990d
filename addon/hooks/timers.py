"""Deadlines by key, with one timer of the event loop for all.

Nearly every deadline is stopped or moved long before it is due. A timer of asyncio's for each would
be made and cancelled a few times per request; here that is an entry in a dict.
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
        """When, by the monotonic clock, and what is called then."""
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf

    def start(self, key: str, seconds: float, call: Callable[[], None]) -> None:
        """Call a function after so many seconds; takes the place of what the key stood for."""
        when = time.monotonic() + seconds
        self._due[key] = (when, call)
        if when < self._alarm_at:
            self._set_alarm(when)

    def stop(self, key: str) -> None:
        """Do not call it; nothing is done for a key that stands for nothing."""
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
            # Should a call fail, the rest is due at once.
            if self._due:
                self._set_alarm(min(when for when, _ in self._due.values()))
