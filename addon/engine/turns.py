"""Limit how long one connection keeps the event loop, which all connections share.

One read of up to 256 KiB can contain thousands of requests, chunks or frames. They are processed in
short turns. Between two turns the event loop serves other connections; with any number of
connections waiting for their next turn, turns take at most a third of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

SECONDS = 0.00025
"""How long a turn lasts; a step that has begun is finished. A small request keeps the event loop
busy for about as long, and waits for a turn or two on its way."""

REST = 2
"""Time for other work before the next turn, as a multiple of a turn."""
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
        """Take the next slot, and return the seconds until it begins."""
        begin = max(now + REST * self.seconds, self._next)
        self._next = begin + (1 + REST) * self.seconds
        return begin - now


class Turns:
    """The turns of one reader.

    Args:
        slots: assign the time of the next turn.
        wake_up: calls a function later, while the event loop runs.
    """

    def __init__(self, slots: Slots, wake_up: WakeUp) -> None:
        self._slots = slots
        self._wake_up = wake_up
        self._ends = 0.0
        self.resting = False
        """Whether this reader waits for its next turn."""

    def begin(self) -> None:
        """Begin a turn."""
        self._ends = time.perf_counter() + self._slots.seconds

    @property
    def is_over(self) -> bool:
        """Whether the turn has lasted long enough."""
        return time.perf_counter() >= self._ends

    def rest(self, then: Callable[[], None]) -> None:
        """Rest until the next turn, then call a function."""
        self.resting = True

        def go_on() -> None:
            self.resting = False
            then()

        self.follow(go_on)

    def follow(self, then: Callable[[], None]) -> None:
        """Call a function after the turns that are already scheduled."""
        now = time.perf_counter()
        self._sleep(now + self._slots.wait(now), then)

    def _sleep(self, until: float, then: Callable[[], None]) -> None:
        # The event loop sleeps in whole milliseconds; for less than one, it just iterates.
        left = until - time.perf_counter()
        self._wake_up(left if left > SLEEP else 0, partial(self._look, until, then))

    def _look(self, until: float, then: Callable[[], None]) -> None:
        if time.perf_counter() < until:
            self._sleep(until, then)
        else:
            then()
