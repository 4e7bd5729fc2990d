"""How long a client may take for a request's head on an HTTP/2 connection.

The addon limits the time until a client's first request; this limits all later heads. A head blocks
its connection, so there is one at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from .deadline import Deadline
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
        self._seconds = seconds
        self._blocks = HeadBlocks()
        self._number: int | None = None
        self._deadline = Deadline(wake_up, late)

    @property
    def begun(self) -> bool:
        """Whether a head has begun and is not complete."""
        return self._deadline.ends is not None

    def received(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._blocks.feed(data)
        number = self._blocks.unfinished() if self.watching else None
        if number != self._number:
            self._number = number
            self._deadline.ends = None if number is None else time.monotonic() + self._seconds()
        self._deadline.check()
