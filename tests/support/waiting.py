"""Waits for events in another process."""

import time
from collections.abc import Callable


def eventually(check: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until a check holds; a busy machine may need longer than the promised time.

    Raises:
        AssertionError: the time ran out.
    """
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.02)
