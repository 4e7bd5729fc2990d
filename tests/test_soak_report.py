"""The table of the soak test, and the results that it does not accept."""

from __future__ import annotations

from collections import Counter

import pytest
from soak.faults import Fault
from soak.main import problems, table


def fault(*, errors: bool = False, cuts: bool = False, **counts: int) -> Fault:
    """Return a fault with these results, and six examples."""
    return Fault(
        "freeze",
        lambda _: 1,
        errors=errors,
        cuts=cuts,
        injected=3,
        counts=Counter(counts),
        recovered=1.25,
        examples=[f"example {number}" for number in range(6)],
    )


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (fault(right=5), []),
        (fault(right=5, lost=1), ["freeze: 1 lost"]),
        (fault(errors=True, cuts=True, right=5, lost=1), []),
        (fault(errors=True, right=5, lost=2), ["freeze: 2 lost"]),
        # A wrong answer is never acceptable.
        (fault(errors=True, cuts=True, right=5, wrong=1), ["freeze: 1 wrong"]),
        (fault(), ["freeze: nothing was right"]),
    ],
)
def test_problems(row: Fault, expected: list[str]) -> None:
    """Results that the fault does not excuse are listed, with at most five examples."""
    examples = [f"example {number}" for number in range(5)] if expected else []
    assert problems(row) == expected + examples


def test_table() -> None:
    """The columns are aligned, and a result that never occurred is 0."""
    assert table([fault(requests=1200, lost=7)]).splitlines() == [
        "| fault  | times | requests | errors | lost | wrong | recovered after |",
        "| ------ | ----- | -------- | ------ | ---- | ----- | --------------- |",
        "| freeze | 3     | 1200     | 0      | 7    | 0     | 1.2 s           |",
    ]
