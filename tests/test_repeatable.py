"""A default run tries the same examples everywhere, so that rare failures are not random."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

import addon.protocol.hop_by_hop  # noqa: F401 (it has many words)


def test_no_constants_of_this_project() -> None:
    """Hypothesis' examples depend neither on which modules are loaded nor on their contents."""
    drawn = []

    @settings(max_examples=1000, database=None)
    @given(st.binary(max_size=20))
    def draw(value: bytes) -> None:
        drawn.append(value)

    draw()
    assert len(drawn) == 1000
    words = [value for value in drawn if len(value) > 6 and value.replace(b"-", b"").isalpha()]
    assert words == []
