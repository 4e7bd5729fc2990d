"""The health endpoints: who has sent a request."""

import asyncio
import json

import pytest
from support.upstream import Upstream

from addon.registry import health_service
from addon.registry.health_service import HealthService
from addon.rules.model import Health, Probe


@pytest.mark.parametrize("difference", ["", "x", " as it is?", "\udcff"])
def test_senders(difference: str) -> None:
    """Only the exact token marks a request as the proxy's own."""
    health = HealthService()
    assert health.sender(None) == "client"
    assert health.sender(health.token + difference) == ("client" if difference else "probe")
    assert health.sender(health.token[:-1]) == "client"
    assert health.sender(health.token + health_service.AS_IT_IS) == "finder"


def test_the_finder_asks_for_a_mount() -> None:
    """The finder's mark names a mount; one without a name is for the listener's upstream."""
    health = HealthService()
    mark = health.token + health_service.AS_IT_IS
    assert (health.sender(f"{mark} for /team-a"), health.mount(f"{mark} for /team-a")) == (
        "finder",
        "/team-a",
    )
    assert (health.mount(mark), health.mount(None)) == ("", "")


def test_the_api_is_detected_first() -> None:
    """Probes of the API wait until it is detected; readiness needs no API."""

    async def main(url: str) -> None:
        health, detected = HealthService(), asyncio.Event()

        async def first_answers() -> None:
            await detected.wait()

        health.first_answers = first_answers

        async def ask(path: str) -> int:
            config = Health(probes=[Probe(name="api", path="/api")])
            reply = await health.answer(path, url, config, rules="current", draining=False)
            assert json.loads(reply.body)["status"] in ("ok", "ready")
            return reply.status

        asked = asyncio.create_task(ask("/health/mlflow"))
        assert await ask("/readyz") == 200
        await asyncio.wait({asked}, timeout=0.2)
        assert not asked.done()
        detected.set()
        assert await asked == 200

    with Upstream() as upstream:
        asyncio.run(main(upstream.url))
