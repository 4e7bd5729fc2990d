"""Turns of tests that run at the same time in several processes."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Wait for one's turn, and have it.

    Args:
        folder: that all the processes share.
        alone: whether nobody else may have a turn at the same time.
    """
    with (folder / "door").open("w") as door, (folder / "room").open("w") as room:
        # Who waits for an empty room stands in the door, else others would go in and out for ever.
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield
