"""How long a client may take for a request's head on an HTTP/2 connection.

The addon limits the time until a client's first request; this limits all later heads. A head blocks
its connection, so there is one at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from .head_blocks import HeadBlocks
from .turns import WakeUp


class HeadTimes:
    """Calls a function when a head takes too long.

    Args:
        wake_up: calls a function after some seconds.
        seconds: returns how long a head that begins now may take.
        late: called if the head takes longer.
    """

    def __init__(
        self,
        wake_up: WakeUp,
        seconds: Callable[[], float],
        late: Callable[[], None],
    ) -> None:
        self.watching = False
        """Whether there has been a request."""
        self._wake_up = wake_up
        self._seconds = seconds
        self._late = late
        self._blocks = HeadBlocks()
        self._number: int | None = None
        self._ends: float | None = None
        self._alarm = False

    @property
    def begun(self) -> bool:
        """Whether a head has begun and is not complete."""
        return self._ends is not None

    def received(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._blocks.feed(data)
        number = self._blocks.unfinished() if self.watching else None
        if number != self._number:
            self._number = number
            self._ends = None if number is None else time.monotonic() + self._seconds()
        self._look()

    def _look(self) -> None:
        if self._ends is None or self._alarm:
            return
        left = self._ends - time.monotonic()
        if left <= 0:
            self._ends = None
            self._late()
        else:
            self._alarm = True
            self._wake_up(left, self._ring)

    def _ring(self) -> None:
        self._alarm = False
        self._look()
