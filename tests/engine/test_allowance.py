"""A limit with a burst and a rate."""

from __future__ import annotations

import pytest

from addon.engine.allowance import Allowance


@pytest.mark.parametrize(
    ("takes", "expected"),
    [
        ([0, 0, 0], [True, True, False]),
        ([0, 0, 0, 0.5], [True, True, False, True]),
        ([0, 0, 100, 100, 100], [True, True, True, True, False]),
        ([0, 0, 0.25, 0.5], [True, True, False, True]),
    ],
)
def test_allowance(takes: list[float], expected: list[bool]) -> None:
    """An allowance permits two at once, and two per second."""
    allowance = Allowance(2, 2)
    assert [allowance.take(now) for now in takes] == expected
