"""How long a client has taken none of the bytes that wait for it."""

from __future__ import annotations

import pytest

from addon.hooks.send_times import Progress


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        # Seconds and bytes taken so far.
        ([(10, 0)], 0),
        ([(10, 5), (40, 5)], 30),
        # An equal number may have been queued since.
        ([(10, 0), (40, 1)], 0),
        ([(10, 0), (40, 1), (60, 1)], 20),
    ],
)
def test_clients_that_are_stuck(looks: list[tuple[float, int]], expected: float) -> None:
    """Only time without progress counts."""
    progress = Progress()
    assert [progress.stuck(*look) for look in looks][-1] == expected
