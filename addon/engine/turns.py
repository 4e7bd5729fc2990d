"""How long one connection keeps the event loop, which is there for all of them.

What has come at once, up to 256 KiB, can be thousands of requests, chunks or frames. It is read in
short turns. Between two of them the event loop serves whoever else is there; however many
connections wait for their next turn, those turns take a third of the time at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

SECONDS = 0.00025
"""How long a turn lasts; what is begun then is ended. A small request takes the event loop about as
long, and meets a turn or two on its way."""

REST = 2
"""How many times as long the event loop is there for others before the next turn."""
SLEEP = 0.001
"""Seconds of the shortest sleep."""

WakeUp = Callable[[float, Callable[[], None]], None]
"""Calls a function after some seconds."""


class Slots:
    """Hands out the times at which turns begin, to all connections of the process.

    Args:
        seconds: how long a turn lasts.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._next = 0.0

    def wait(self, now: float) -> float:
        """Take the next one; returns the seconds until then."""
        begin = max(now + REST * self.seconds, self._next)
        self._next = begin + (1 + REST) * self.seconds
        return begin - now


class Turns:
    """The turns of one reader.

    Args:
        slots: tell when the next turn may begin.
        wake_up: lets the event loop go on meanwhile.
    """

    def __init__(self, slots: Slots, wake_up: WakeUp) -> None:
        self._slots = slots
        self._wake_up = wake_up
        self._ends = 0.0
        self.resting = False
        """Whether others have their turns."""

    def begin(self) -> None:
        """A turn begins."""
        self._ends = time.perf_counter() + self._slots.seconds

    @property
    def is_over(self) -> bool:
        """Whether the turn has lasted long enough."""
        return time.perf_counter() >= self._ends

    def rest(self, then: Callable[[], None]) -> None:
        """Let others have their turns; then go on."""
        self.resting = True

        def go_on() -> None:
            self.resting = False
            then()

        self.follow(go_on)

    def follow(self, then: Callable[[], None]) -> None:
        """Call a function when the turns that wait have been."""
        now = time.perf_counter()
        self._sleep(now + self._slots.wait(now), then)

    def _sleep(self, until: float, then: Callable[[], None]) -> None:
        # The event loop sleeps for whole milliseconds; for less than one it goes round.
        left = until - time.perf_counter()
        self._wake_up(left if left > SLEEP else 0, partial(self._look, until, then))

    def _look(self, until: float, then: Callable[[], None]) -> None:
        if time.perf_counter() < until:
            self._sleep(until, then)
        else:
            then()
