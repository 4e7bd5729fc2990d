"""The endpoints for health, and the sender of a request."""

import pytest

from addon.registry import health_service
from addon.registry.health_service import HealthService


@pytest.mark.parametrize("difference", ["", "x", " as it is?", "\udcff"])
def test_senders(difference: str) -> None:
    """Only the whole token makes a request one of ours."""
    health = HealthService()
    assert health.sender(None) == "client"
    assert health.sender(health.token + difference) == ("client" if difference else "probe")
    assert health.sender(health.token[:-1]) == "client"
    assert health.sender(health.token + health_service.AS_IT_IS) == "finder"
