"""The time by which the head of a request must be complete, once it has begun."""

from __future__ import annotations

import time
from collections.abc import Callable

from .turns import WakeUp


class Deadline:
    """The deadline of one connection.

    Args:
        wake_up: calls a function after some seconds.
        late: called when the time is over.
    """

    def __init__(self, wake_up: WakeUp, late: Callable[[], None]) -> None:
        self.ends: float | None = None
        """The time, by the monotonic clock; None if no head is awaited."""
        self._wake_up = wake_up
        self._late = late
        self._alarm = False
        """Whether a call of `_look_again` is on its way. It outlives the head that it is for."""

    def check(self) -> None:
        """Tell if the time is over; until then set an alarm."""
        if self.ends is None or self._alarm:
            return
        left = self.ends - time.monotonic()
        if left <= 0:
            self.ends = None
            self._late()
        else:
            self._alarm = True
            self._wake_up(left, self._look_again)

    def _look_again(self) -> None:
        self._alarm = False
        self.check()
