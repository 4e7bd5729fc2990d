"""How long a client may stay silent, and which limits mitmproxy's tcp_timeout overrides."""

from __future__ import annotations

import pytest

from addon.hooks import silent_clients
from addon.rules.model import Limits, Upstream

LIMITS = Limits(client_idle_timeout=700)


@pytest.mark.parametrize(
    ("busy", "events", "upstream", "expected"),
    [
        (False, False, {}, 700),
        (False, False, {"response_timeout": 3600}, 700),
        # A client that does not read.
        (True, False, {}, 600),
        # The upstream's limit comes first.
        (True, False, {"response_timeout": 900}, 910),
        (True, False, {"idle_timeout": 900}, 910),
        (True, False, {"response_timeout": 900, "event_idle_timeout": 5000}, 910),
        (True, True, {}, None),
        (True, True, {"event_idle_timeout": 1}, 600),
        (True, True, {"event_idle_timeout": 5000}, 5010),
    ],
)
def test_allowed(
    busy: bool, events: bool, upstream: dict[str, float], expected: float | None
) -> None:
    """The limit depends on which side the proxy waits for."""
    allowed = silent_clients.allowed(
        busy=busy,
        events=events,
        stalled=600,
        limits=LIMITS,
        upstream=Upstream.model_validate(upstream),
    )
    assert allowed == expected


def test_limits_without_effect() -> None:
    """A low tcp_timeout gives a warning, a high one does not."""
    assert silent_clients.warning(4000, LIMITS, Upstream()) is None
    assert silent_clients.warning(300, LIMITS, Upstream()) == (
        "tcp_timeout=300 closes silent connections before upstream.response_timeout (300), "
        "limits.client_idle_timeout (700)"
    )
