"""For how long nothing was taken of what waits for a client."""

from __future__ import annotations

import pytest

from addon.hooks.send_times import Progress


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        # Seconds, and what was taken so far.
        ([(10, 0)], 0),
        ([(10, 5), (40, 5)], 30),
        # What was taken may have been followed by as much again.
        ([(10, 0), (40, 1)], 0),
        ([(10, 0), (40, 1), (60, 1)], 20),
    ],
)
def test_stuck(looks: list[tuple[float, int]], expected: float) -> None:
    """Only time in which nothing is taken counts."""
    progress = Progress()
    assert [progress.stuck(*look) for look in looks][-1] == expected
