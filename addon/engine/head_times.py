"""How long, and how large, an unfinished head may be on an HTTP/2 connection.

The addon limits the time until a client's first request; this limits all later heads. A head blocks
its connection, so there is one at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from .deadline import Deadline
from .head_blocks import HeadBlocks
from .heads import UNCOUNTED
from .turns import WakeUp


class HeadTimes:
    """Calls a function when a head takes too long.

    Args:
        wake_up: calls a function after some seconds.
        seconds: returns how long a head that begins now may take.
        late: called if the head takes longer.
        hold: called with the bytes of a head that has begun; 0 when it is over.
    """

    def __init__(
        self,
        wake_up: WakeUp,
        seconds: Callable[[], float],
        late: Callable[[], None],
        hold: Callable[[int], None],
    ) -> None:
        self.watching = False
        """Whether there has been a request."""
        self._seconds = seconds
        self._blocks = HeadBlocks()
        self._number: int | None = None
        self._deadline = Deadline(wake_up, late)
        self._hold = hold
        self._counted = False
        """Whether the head that has begun is counted."""

    @property
    def begun(self) -> bool:
        """Whether a head has begun and is not complete."""
        return self._deadline.ends is not None

    def received(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._blocks.feed(data)
        counts = (size := self._blocks.size) > UNCOUNTED
        if counts or self._counted:
            self._counted = counts
            self._hold(size if counts else 0)
        number = self._blocks.unfinished() if self.watching else None
        if number != self._number:
            self._number = number
            self._deadline.ends = None if number is None else time.monotonic() + self._seconds()
        self._deadline.check()
