"""For how long nothing was taken of what waits for a client."""

from __future__ import annotations

import pytest

from addon.hooks.send_times import Progress


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        # Seconds, bytes that wait, and what was taken so far.
        ([(10, 0, 0), (40, 0, 0)], 0),
        ([(10, 5, 0), (40, 5, 0)], 30),
        # It begins with the first look at which something waits.
        ([(10, 0, 0), (40, 5, 0), (50, 5, 0)], 10),
        # What was taken may have been followed by as much again.
        ([(10, 5, 0), (40, 5, 1)], 0),
        ([(10, 5, 0), (40, 5, 1), (60, 5, 1)], 20),
        # More that waits is no progress.
        ([(10, 5, 0), (40, 9, 0)], 30),
        # All was taken in between.
        ([(10, 5, 0), (40, 0, 5), (60, 5, 5), (70, 5, 5)], 10),
        ([(10, 5, 3), (40, 0, 0), (60, 5, 3)], 0),
    ],
)
def test_stuck(looks: list[tuple[float, int, int]], expected: float) -> None:
    """Only time in which something waits and nothing is taken counts."""
    progress = Progress()
    assert [progress.stuck(*look) for look in looks][-1] == expected
