"""The health endpoints: who has sent a request."""

import pytest

from addon.registry import health_service
from addon.registry.health_service import HealthService


@pytest.mark.parametrize("difference", ["", "x", " as it is?", "\udcff"])
def test_senders(difference: str) -> None:
    """Only the exact token marks a request as the proxy's own."""
    health = HealthService()
    assert health.sender(None) == "client"
    assert health.sender(health.token + difference) == ("client" if difference else "probe")
    assert health.sender(health.token[:-1]) == "client"
    assert health.sender(health.token + health_service.AS_IT_IS) == "finder"


def test_whom_the_finder_asks() -> None:
    """The finder's mark names a mount; one without a name is for the listener's upstream."""
    health = HealthService()
    mark = health.token + health_service.AS_IT_IS
    assert (health.sender(f"{mark} for /team-a"), health.mount(f"{mark} for /team-a")) == (
        "finder",
        "/team-a",
    )
    assert (health.mount(mark), health.mount(None)) == ("", "")
