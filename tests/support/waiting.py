"""Waiting for what happens in another process."""

import time
from collections.abc import Callable


def eventually(check: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until a check holds; a busy machine may take longer than what is promised.

    Raises:
        AssertionError: the time ran out.
    """
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.02)
