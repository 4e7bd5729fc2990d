"""Turns, shared or exclusive, for tests that run in several processes."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Wait for a turn and hold it.

    Args:
        folder: a folder that all processes share.
        alone: whether no other test may have a turn at the same time.
    """
    with (folder / "door").open("w") as door, (folder / "room").open("w") as room:
        # A test that waits for an empty room holds the door: otherwise others could keep it full.
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield
