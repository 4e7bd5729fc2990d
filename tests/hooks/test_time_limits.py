"""The time limits of upstreams: which counts when, and what it ends."""

import pytest

from addon.hooks import time_limits
from addon.rules.model import Upstream


@pytest.mark.parametrize(
    ("content_type", "events", "expected"),
    [
        ("application/json", 0, 120),
        ("", 5, 120),
        ("text/event-stream", 0, None),
        ("Text/Event-Stream; charset=utf-8", 5, 5),
    ],
)
def test_idle_limit(content_type: str, events: float, expected: float | None) -> None:
    """Events have a limit of their own, or none."""
    assert time_limits.idle_limit(Upstream(event_idle_timeout=events), content_type) == expected
